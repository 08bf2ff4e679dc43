//! S3, with the bucket in the path: any host name serves.

use hyper::Method;

use super::Letter;
use crate::Options;
use crate::client::{Error, Service, Signed, send};
use crate::record::strftime;

/// `PutObject`. The same record has the same key, however often it is sent.
pub(super) async fn put(options: &Options, letter: &Letter<'_>, bucket: &str) -> Result<(), Error> {
    // What tells of a stream is of a mapping's shard: `…:event-source-mapping:ID/SHARD`.
    let of = letter.function_arn.split_once(":event-source-mapping:");
    let of = of.map_or_else(|| format!("async/{}", letter.function.name), |(_, of)| of.to_owned());
    let time = strftime(letter.at, "%Y/%m/%d/%Y-%m-%dT%H.%M.%S");
    let path = format!("/{bucket}/aws/lambda/{of}/{time}-{}", letter.request_id);
    let request = Signed {
        service: Service::S3,
        method: Method::PUT,
        path: &path,
        region: &letter.function.region,
        headers: &[("content-type", "application/json")],
        body: letter.body.to_owned().into(),
    };
    send(options, request).await.map(drop)
}

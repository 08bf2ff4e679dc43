//! DynamoDB Streams, by its JSON protocol (service-api.md §11).

use coldframe_core::source::Position;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::kinesis::ListedShard;
use super::record::{Around, Record, hash, is_sequence_number};
use super::remote::{Page, Remote, milliseconds};
use crate::client::Error;
use crate::now;

/// Records of one answer. AWS: GetRecords of DynamoDB Streams.
pub(super) const RECORDS_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    stream_description: Description,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    #[serde(default)]
    shards: Vec<ListedShard>,
    last_evaluated_shard_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Got {
    /// Always there: what has none is no answer, and not the end of its shard.
    records: Vec<Sent>,
    next_shard_iterator: Option<String>,
}

/// A record as DynamoDB sends it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    #[serde(rename = "eventID", default)]
    event_id: String,
    #[serde(default)]
    event_name: String,
    event_version: Option<String>,
    dynamodb: Map<String, Value>,
    user_identity: Option<Identity>,
}

/// Who deleted an item, if that was its time to live. Sent with capitals, shown without.
#[derive(Deserialize, Serialize)]
#[serde(rename_all(serialize = "camelCase"))]
struct Identity {
    #[serde(rename(deserialize = "Type"), alias = "type")]
    r#type: Option<String>,
    #[serde(rename(deserialize = "PrincipalId"), alias = "principalId")]
    principal_id: Option<String>,
}

/// One record of the event. AWS's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(rename = "eventID")]
    event_id: &'a str,
    event_name: &'a str,
    event_version: &'a str,
    event_source: &'static str,
    aws_region: &'a str,
    dynamodb: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_identity: Option<&'a Identity>,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
}

/// `DescribeStream`: one page of its shards, and what the next is asked by.
pub(super) async fn shards(
    remote: &Remote<'_>,
    after: Option<String>,
) -> Result<(Vec<ListedShard>, Option<String>), Error> {
    let mut asked = json!({ "StreamArn": remote.stream.text });
    if let Some(after) = after {
        asked["ExclusiveStartShardId"] = json!(after);
    }
    let described: Described = remote.call("DescribeStream", &asked).await?;
    let Description { shards, last_evaluated_shard_id } = described.stream_description;
    Ok((shards, last_evaluated_shard_id))
}

/// What `GetShardIterator` is asked. There are no moments here: if none of the shard was read yet,
/// `is_fresh`, what comes from now on is what comes since; else what is too old is passed over.
pub(super) fn iterator(remote: &Remote<'_>, at: &Position, is_fresh: bool) -> Value {
    let mut asked = json!({ "StreamArn": remote.stream.text });
    let kind = match at {
        Position::Since(_) if is_fresh => "LATEST",
        Position::Begin | Position::End | Position::Since(_) => "TRIM_HORIZON",
        Position::After(number) => {
            asked["SequenceNumber"] = json!(number);
            "AFTER_SEQUENCE_NUMBER"
        }
    };
    asked["ShardIteratorType"] = json!(kind);
    asked
}

/// `GetRecords`
pub(super) async fn read(
    remote: &Remote<'_>,
    iterator: &str,
    limit: usize,
    at: &Position,
    around: Around<'_>,
) -> Result<Page, Error> {
    let limit = limit.min(RECORDS_MAX);
    let asked = json!({ "ShardIterator": iterator, "Limit": limit });
    let got: Got = remote.call("GetRecords", &asked).await?;
    // Pages end where they like: only one without records tells that there are no more now.
    let is_behind = !got.records.is_empty();
    let mut records = Vec::with_capacity(got.records.len());
    for sent in got.records {
        let record = record(sent, around)?;
        // Times of records are whole seconds. The reader stands at the moment until one is wanted:
        // on the next page it still counts.
        let is_wanted =
            !matches!(at, Position::Since(moment) if record.arrived / 1000 < moment / 1000);
        if is_wanted {
            records.push(record);
        }
    }
    Ok(Page { records, next: got.next_shard_iterator, is_behind })
}

fn record(mut sent: Sent, around: Around<'_>) -> Result<Record, Error> {
    let number = sent.dynamodb.get("SequenceNumber").and_then(Value::as_str).unwrap_or_default();
    if !is_sequence_number(number) {
        return Err(Error::Answer);
    }
    let sequence_number = number.to_owned();
    let created = sent.dynamodb.get_mut("ApproximateCreationDateTime");
    let arrived = match created.as_ref().and_then(|created| created.as_f64()) {
        Some(seconds) => milliseconds(seconds),
        None => now(),
    };
    if let Some(created) = created {
        *created = json!(arrived / 1000);
    }
    let key = hash(&sent.dynamodb.get("Keys").unwrap_or(&Value::Null).to_string());
    let shown = Shown {
        event_id: &sent.event_id,
        event_name: &sent.event_name,
        event_version: sent.event_version.as_deref().unwrap_or("1.1"),
        event_source: "aws:dynamodb",
        aws_region: &around.stream.region,
        dynamodb: &sent.dynamodb,
        user_identity: sent.user_identity.as_ref(),
        event_source_arn: &around.stream.text,
    };
    let data = if around.filters.is_empty() {
        String::new()
    } else {
        serde_json::to_string(&sent.dynamodb).map_err(|_| Error::Answer)?
    };
    let metadata = || serde_json::to_value(&shown).unwrap_or(Value::Null);
    let passes = around.passes(metadata, &data);
    let json = serde_json::to_vec(&shown).map_err(|_| Error::Answer)?;
    Ok(Record { sequence_number, key, arrived, passes, json, number: 0 })
}

#[cfg(test)]
mod tests {
    use coldframe_core::source::{StreamArn, StreamKind};

    use super::super::super::filter::{DataField, Pattern};
    use super::*;

    const STREAM: &str =
        "arn:aws:dynamodb:eu-west-1:123456789012:table/t/stream/2026-11-28T06:14:59.123";

    fn read(more: Value, filters: &[&str]) -> Record {
        let of = DataField::of(Some(StreamKind::DynamoDb));
        let filters: Vec<Pattern> =
            filters.iter().map(|text| Pattern::parse(text, of).unwrap()).collect();
        let stream = StreamArn::parse(STREAM).unwrap();
        let mut sent = json!({
            "eventID": "c4ca4238a0b923820dcc509a6f75849b", "eventName": "INSERT",
            "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": "eu-west-1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_479_499_740.75,
                "Keys": { "Id": { "N": "101" } },
                "NewImage": { "Message": { "S": "New item!" }, "Id": { "N": "101" } },
                "SequenceNumber": "4421584500000000017450439091",
                "SizeBytes": 26, "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        });
        let (sent_map, more) = (sent.as_object_mut().unwrap(), more.as_object().unwrap().clone());
        sent_map.extend(more);
        let around = Around { stream: &stream, shard: "s", role: "r", filters: &filters };
        record(serde_json::from_value(sent).unwrap(), around).unwrap()
    }

    // Spec: service-api.md §7.3, "Events".
    #[test]
    fn records_read_as_awss() {
        let record = read(json!({}), &[]);
        let expected = concat!(
            r#"{"eventID":"c4ca4238a0b923820dcc509a6f75849b","eventName":"INSERT","eventVersion":"1.1","#,
            r#""eventSource":"aws:dynamodb","awsRegion":"eu-west-1","dynamodb":{"#,
            r#""ApproximateCreationDateTime":1479499740,"Keys":{"Id":{"N":"101"}},"#,
            r#""NewImage":{"Id":{"N":"101"},"Message":{"S":"New item!"}},"#,
            r#""SequenceNumber":"4421584500000000017450439091","SizeBytes":26,"#,
            r#""StreamViewType":"NEW_AND_OLD_IMAGES"},"#,
            r#""eventSourceARN":"arn:aws:dynamodb:eu-west-1:123456789012:table/t/stream/2026-11-28T06:14:59.123"}"#,
        );
        assert_eq!(std::str::from_utf8(&record.json).unwrap(), expected);
        assert_eq!(record.arrived, 1_479_499_740_750);
        let service = json!({ "Type": "Service", "PrincipalId": "dynamodb.amazonaws.com" });
        let expired = read(json!({ "eventName": "REMOVE", "userIdentity": service }), &[]);
        let shown: Value = serde_json::from_slice(&expired.json).unwrap();
        let identity = json!({ "type": "Service", "principalId": "dynamodb.amazonaws.com" });
        assert_eq!(shown["userIdentity"], identity);
    }

    #[test]
    fn filters_see_the_item_and_what_happened_to_it() {
        let check = |filters: &[&str], passes: bool| {
            assert_eq!(read(json!({}), filters).passes, passes, "{filters:?}");
        };
        check(&[r#"{"eventName":["INSERT"]}"#], true);
        check(&[r#"{"eventName":["REMOVE"]}"#], false);
        check(&[r#"{"dynamodb":{"NewImage":{"Message":{"S":[{"prefix":"New"}]}}}}"#], true);
        check(&[r#"{"eventName":["INSERT"],"dynamodb":{"Keys":{"Id":{"N":["102"]}}}}"#], false);
    }
}

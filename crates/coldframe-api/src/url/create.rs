//! `CreateFunctionUrlConfig` (service-api.md §6.1).

use std::sync::Arc;

use coldframe_store::UrlRecord;
use hyper::StatusCode;
use uuid::Uuid;

use super::{Shown, arn_of, exists, key, no_function, now};
use crate::function::named;
use crate::{Call, Error, Reply, Service, json};

impl Service {
    pub(crate) async fn create_function_url_config(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let named = named(&call)?;
        let key = key(&named).ok_or_else(no_function)?;
        let text = |name: &str| call.json[name].as_str().map(str::to_owned);
        let created = now();
        let url = UrlRecord {
            id: Uuid::new_v4().simple().to_string(),
            auth_type: text("AuthType").unwrap_or_default(),
            cors: call.json.get("Cors").filter(|cors| !cors.is_null()).cloned(),
            invoke_mode: text("InvokeMode"),
            modified: created.clone(),
            created,
        };
        let (arn, of, kept) = (arn_of(&named.arn, &key), key.clone(), url.clone());
        let created = self.change_there(
            &named.arn,
            move |function| {
                if !exists(function, &of) {
                    return Err(no_function());
                }
                if function.settings.urls.contains_key(&of) {
                    return Err(Error::new(
                        "ResourceConflictException",
                        format!(
                            "Failed to create function url config for [functionArn = {arn}]. Error message:  FunctionUrlConfig exists for this Lambda function"
                        ),
                    ));
                }
                Arc::make_mut(&mut function.settings).urls.insert(of, kept);
                Ok(())
            },
            no_function,
        );
        created.await?;
        let shown = self.shown_url(&named.arn, &key, &url, Shown::Created);
        Ok(json(StatusCode::CREATED, &shown))
    }
}

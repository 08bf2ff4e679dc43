//! `UpdateFunctionUrlConfig` (service-api.md §6.1): what isn't given stays.

use std::sync::Arc;

use hyper::StatusCode;

use super::{Shown, exists, key, no_function, no_url, now};
use crate::function::named;
use crate::{Call, Error, Reply, Service, json};

impl Service {
    pub(crate) async fn update_function_url_config(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let named = named(&call)?;
        let key = key(&named).ok_or_else(no_function)?;
        let (of, body) = (key.clone(), call.json);
        let updated = self.change_there(
            &named.arn,
            move |function| {
                if !exists(function, &of) {
                    return Err(no_function());
                }
                let settings = Arc::make_mut(&mut function.settings);
                let url = settings.urls.get_mut(&of).ok_or_else(no_url)?;
                if let Some(auth_type) = body["AuthType"].as_str() {
                    auth_type.clone_into(&mut url.auth_type);
                }
                if !body["Cors"].is_null() {
                    url.cors = Some(body["Cors"].clone());
                }
                if let Some(mode) = body["InvokeMode"].as_str() {
                    url.invoke_mode = Some(mode.to_owned());
                }
                url.modified = now();
                Ok(url.clone())
            },
            no_function,
        );
        let url = updated.await?;
        Ok(json(StatusCode::OK, &self.shown_url(&named.arn, &key, &url, Shown::Updated)))
    }
}

//! `coldframe account` and `coldframe key`

use std::process::ExitCode;

use anyhow::Context;
use coldframe_store::Store;
use serde_json::{Value, json};

use crate::arguments::{Account, Data, Key};
use crate::out::say;
use crate::{instance, operator};

pub(crate) async fn account(command: Account) -> anyhow::Result<ExitCode> {
    match command {
        Account::Create { name, id, data } => {
            let question = json!({ "do": "create-account", "name": name, "id": id });
            let made = ask(data, &question).await?;
            say!("{}", made["Id"].as_str().unwrap_or_default())?;
        }
        Account::List { json, data } => {
            let accounts = ask(data, &json!({ "do": "list-accounts" })).await?;
            if json {
                say!("{}", json!({ "Accounts": accounts }))?;
            } else {
                table(&accounts, &["Id", "CreateDate", "Name"])?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn key(command: Key) -> anyhow::Result<ExitCode> {
    match command {
        Key::Create { account, user, json, data } => {
            let question = json!({ "do": "create-key", "account": account, "user": user });
            let made = ask(data, &question).await?;
            let text = |name: &str| made["AccessKey"][name].as_str().unwrap_or_default().to_owned();
            if json {
                say!("{made}")?;
            } else {
                say!("export AWS_ACCESS_KEY_ID={}", text("AccessKeyId"))?;
                say!("export AWS_SECRET_ACCESS_KEY={}", text("SecretAccessKey"))?;
            }
        }
        Key::List { json, data } => {
            let keys = ask(data, &json!({ "do": "list-keys" })).await?;
            if json {
                say!("{}", json!({ "AccessKeyMetadata": keys }))?;
            } else {
                table(&keys, &["AccessKeyId", "AccountId", "CreateDate", "UserName"])?;
            }
        }
        Key::Revoke { id, data } => {
            ask(data, &json!({ "do": "revoke-key", "id": id })).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the running service, or the store itself if none runs.
async fn ask(data: Data, question: &Value) -> anyhow::Result<Value> {
    let data = instance::data_directory(data.data)?;
    let Some(_ours) = instance::take(&data, &instance::own_name()?)? else {
        return operator::ask(&data, question).await;
    };
    let store = Store::open(Some(&data.join("store.sqlite"))).context("cannot open the store")?;
    operator::answer(&store, question)
}

fn table(rows: &Value, columns: &[&str]) -> anyhow::Result<()> {
    for row in rows.as_array().into_iter().flatten() {
        let cells: Vec<&str> =
            columns.iter().map(|column| row[*column].as_str().unwrap_or_default()).collect();
        say!("{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

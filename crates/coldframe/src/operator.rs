//! Accounts and keys: the operator's matter, so not to be had over the network. A running service
//! answers on a socket in its data directory, to its own user and root alone; without one the
//! command line opens the store itself. Both ask [`answer`].

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use coldframe_api::Service as Api;
use coldframe_core::{AccountId, identity};
use coldframe_store::{AccountRecord, KeyRecord, Store};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use uuid::Uuid;

const SOCKET: &str = "operator.sock";

/// A question longer than this isn't ours, bytes.
const QUESTION_BYTES_MAX: u64 = 64 * 1024;

/// Who connects has his question ready.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);

/// The running service's end.
pub(crate) struct Operator;

/// A socket's address must be short, and a data directory's path may be long.
fn address(data: &Path) -> anyhow::Result<(File, PathBuf)> {
    let directory = File::open(data).with_context(|| format!("cannot open {}", data.display()))?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    Ok((directory, path.into()))
}

impl Operator {
    /// Answers until the service ends. Keys can't be changed meanwhile if the directory takes no
    /// socket; all else works.
    pub(crate) fn listen(data: &Path, api: Arc<Api>) {
        let listen = || -> anyhow::Result<UnixListener> {
            let (_directory, path) = address(data)?;
            // What a killed service has left; a living one would hold the lock.
            let _ = std::fs::remove_file(&path);
            UnixListener::bind(&path).context("cannot listen in the data directory")
        };
        match listen() {
            Ok(listener) => drop(tokio::spawn(serve(listener, api))),
            Err(error) => {
                tracing::warn!("keys can't be changed while the service runs: {error:#}");
            }
        }
    }
}

async fn serve(listener: UnixListener, api: Arc<Api>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, say.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let own = rustix::process::geteuid().as_raw();
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) {
            continue;
        }
        let api = api.clone();
        tokio::spawn(async move {
            // Who hangs up wants no answer.
            let _ = tokio::time::timeout(QUESTION_LIMIT, converse(stream, api)).await;
        });
    }
}

/// One line asks, one line answers.
async fn converse(mut stream: UnixStream, api: Arc<Api>) -> anyhow::Result<()> {
    let mut line = String::new();
    let (reader, mut writer) = stream.split();
    BufReader::new(reader).take(QUESTION_BYTES_MAX).read_line(&mut line).await?;
    let question: Value = serde_json::from_str(&line)?;
    let answer = tokio::task::spawn_blocking(move || answer(api.store(), &question)).await?;
    let answer = match answer {
        Ok(answer) => json!({ "answer": answer }),
        Err(error) => json!({ "error": format!("{error:#}") }),
    };
    writer.write_all(format!("{answer}\n").as_bytes()).await?;
    Ok(())
}

/// Asks the service that uses the directory.
pub(crate) async fn ask(data: &Path, question: &Value) -> anyhow::Result<Value> {
    let (_directory, path) = address(data)?;
    let asked = async {
        let mut stream = UnixStream::connect(&path).await?;
        stream.write_all(format!("{question}\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        anyhow::Ok(serde_json::from_str::<Value>(&line)?)
    };
    let answered = asked.await.with_context(|| {
        format!("a coldframe uses {}, and doesn't answer there", data.display())
    })?;
    match answered["error"].as_str() {
        Some(error) => Err(anyhow::Error::msg(error.to_owned())),
        None => Ok(answered["answer"].clone()),
    }
}

/// Does what is asked. Blocks for the disk.
pub(crate) fn answer(store: &Store, question: &Value) -> anyhow::Result<Value> {
    let text = |name: &str| question[name].as_str().unwrap_or_default();
    match text("do") {
        "create-account" => create_account(store, text("name"), question["id"].as_str()),
        "list-accounts" => Ok(accounts(store)),
        "create-key" => create_key(store, text("account"), text("user")),
        "list-keys" => Ok(keys(store)),
        "revoke-key" => {
            let id = text("id");
            anyhow::ensure!(store.revoke_key(id)?, "there is no access key {id}");
            Ok(Value::Null)
        }
        _ => anyhow::bail!("the service doesn't know how to do this: is it of another version?"),
    }
}

fn create_account(store: &Store, name: &str, id: Option<&str>) -> anyhow::Result<Value> {
    let record = AccountRecord { name: name.to_owned(), created: now() };
    if let Some(id) = id {
        let account = AccountId::parse(id).context("an account's number has twelve digits")?;
        anyhow::ensure!(store.create_account(&account, record)?, "there is an account {id}");
        return Ok(json!({ "Id": id }));
    }
    loop {
        let (number, _) = Uuid::new_v4().as_u64_pair();
        // Its first digit is not 0: spreadsheets and YAML take that away.
        let number = 100_000_000_000 + number % 900_000_000_000;
        let account = AccountId::parse(&number.to_string()).context("twelve digits")?;
        if store.create_account(&account, record.clone())? {
            return Ok(json!({ "Id": account.as_str() }));
        }
    }
}

fn accounts(store: &Store) -> Value {
    let accounts = store.accounts();
    let accounts = accounts.iter().map(|(id, record)| {
        json!({ "Id": id.as_str(), "Name": record.name, "CreateDate": record.created })
    });
    accounts.collect()
}

fn create_key(store: &Store, account: &str, user: &str) -> anyhow::Result<Value> {
    let id = AccountId::parse(account).context("an account's number has twelve digits")?;
    anyhow::ensure!(
        store.has_account(&id),
        "there is no account {account}: make it by `coldframe account create --id {account}`"
    );
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    anyhow::ensure!(
        (1..=64).contains(&user.len()) && user.bytes().all(is_name),
        "a user's name has 1 to 64 letters, digits and characters of +=,.@_-"
    );
    let random = || Uuid::new_v4().into_bytes();
    let key = identity::access_key("AKIA", &random());
    let record = KeyRecord {
        account: account.to_owned(),
        user: user.to_owned(),
        secret_key: identity::secret_key(&[random(), random()]),
        created: now(),
    };
    store.create_key(&key, record.clone())?;
    Ok(json!({ "AccessKey": {
        "UserName": user,
        "AccountId": account,
        "AccessKeyId": key,
        "SecretAccessKey": record.secret_key,
        "CreateDate": record.created,
    } }))
}

fn keys(store: &Store) -> Value {
    let keys = store.keys();
    let keys = keys.iter().map(|(id, record)| {
        json!({
            "AccessKeyId": id,
            "AccountId": record.account,
            "UserName": record.user,
            "CreateDate": record.created,
        })
    });
    keys.collect()
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

//! The way to the servers, and what must be there: streams and bucket are made where they are missing, and read back.

use std::fmt::Debug;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};

use super::promises::{self, Promise};
use super::{JetStreamError, JetStreamOptions, Store, subjects};

/// How long one server has to take a connection.
const CONNECTING: Duration = Duration::from_secs(5);

/// The first server that knows batches.
const BATCHES_SINCE: (i64, i64, i64) = (2, 12, 0);

/// Connects, and finds or makes everything.
pub(super) async fn connect(
    options: JetStreamOptions,
    incarnation: u64,
) -> Result<(Store, Vec<Promise>), JetStreamError> {
    check(&options)?;
    let client = client(&options).await?;
    if !client.server_info().jetstream {
        return Err(JetStreamError::Refused("the server is without JetStream: its configuration enables that".into()));
    }
    let context = async_nats::jetstream::new(client.clone());
    let (mut streams, mut promised) = (Vec::new(), Vec::new());
    for number in 0..options.streams {
        let stream = stream(&context, &options, number, &client).await?;
        let config = &stream.cached_info().config;
        promised.push(promises::replicas(config, options.replicas));
        promised.push(promises::batches(config, client.server_info().max_payload));
        streams.push(stream);
    }
    let (snapshots, promise) = bucket(&context, &options).await?;
    promised.push(promise);
    let (groups, lanes, continuations, components) = Default::default();
    let store = Store { client, streams, snapshots, options, incarnation, groups, lanes, components, continuations };
    Ok((store, promised))
}

fn check(options: &JetStreamOptions) -> Result<(), JetStreamError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if options.name.is_empty() || !options.name.bytes().all(good) {
        return Err(JetStreamError::Options("a name has letters, digits, hyphens and underscores".into()));
    }
    if options.streams == 0 || options.replicas == 0 || options.servers.is_empty() {
        return Err(JetStreamError::Options("there is at least one server, one stream and one replica".into()));
    }
    Ok(())
}

async fn client(options: &JetStreamOptions) -> Result<Client, JetStreamError> {
    let addresses = options.servers.iter().map(|server| server.parse::<ServerAddr>()).collect::<Result<Vec<_>, _>>();
    let addresses = addresses.map_err(|error| JetStreamError::Options(error.to_string()))?;
    let mut connecting = ConnectOptions::new()
        .name("postbell")
        .connection_timeout(CONNECTING)
        .request_timeout(Some(options.patience))
        .event_callback(|event| async move { note(&event) });
    // As an option it goes to the servers too that are learned of later.
    if let Some(login) = addresses.iter().find(|address| address.has_user_pass()) {
        let user = login.username().unwrap_or_default().to_owned();
        connecting = match login.password() {
            Some(password) => connecting.user_and_password(user, password.to_owned()),
            None => connecting.token(user),
        };
    }
    if let Some(authorities) = &options.authorities {
        connecting = connecting.add_root_certificates(authorities.clone());
    }
    connecting.connect(addresses).await.map_err(|error| match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => JetStreamError::Login,
        ConnectErrorKind::ServerParse | ConnectErrorKind::Tls => JetStreamError::Options(error.to_string()),
        _ => JetStreamError::Unreachable(error.to_string()),
    })
}

fn note(event: &Event) {
    match event {
        Event::Connected => tracing::info!("NATS: connected"),
        Event::Disconnected => tracing::error!("NATS: the connection is lost"),
        // From here: an attempt to begin that failed, or the end.
        Event::Closed => tracing::info!("NATS: the connection is closed"),
        other => tracing::warn!("NATS: {other}"),
    }
}

/// A stream as it must be.
fn wanted(options: &JetStreamOptions, number: usize, client: &Client) -> Config {
    let (major, minor, patch) = BATCHES_SINCE;
    Config {
        name: subjects::stream(&options.name, number),
        subjects: vec![subjects::all(&options.name, number)],
        description: Some(format!("Postbell journal 1, stream {number} of {}", options.streams)),
        // A full stream refuses; it never forgets.
        discard: DiscardPolicy::New,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: options.replicas,
        deny_delete: true,
        allow_atomic_publish: client.is_server_compatible(major, minor, patch),
        ..Config::default()
    }
}

async fn stream(
    context: &Context,
    options: &JetStreamOptions,
    number: usize,
    client: &Client,
) -> Result<Stream, JetStreamError> {
    let wanted = wanted(options, number, client);
    let stream = match found(context, &wanted.name).await? {
        Some(stream) => stream,
        None => context.create_stream(wanted.clone()).await.map_err(|error| match error.kind() {
            CreateStreamErrorKind::JetStream(error) => refused(&wanted.name, &error),
            _ => JetStreamError::Unreachable(format!("stream {}: {error}", wanted.name)),
        })?,
    };
    compare(&stream.cached_info().config, &wanted)?;
    Ok(stream)
}

async fn found(context: &Context, name: &str) -> Result<Option<Stream>, JetStreamError> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            GetStreamErrorKind::JetStream(error) => Err(refused(name, &error)),
            _ => Err(JetStreamError::Unreachable(format!("stream {name}: {error}"))),
        },
    }
}

/// A cluster that elects its leaders still says 503; one that misses servers, which may come back, has too few peers.
fn refused(name: &str, error: &async_nats::jetstream::Error) -> JetStreamError {
    let why = format!("stream {name}: {error}");
    match (error.error_code(), error.code()) {
        (ErrorCode::CLUSTER_NO_PEERS, _) => JetStreamError::Unreachable(why),
        (code, 503) if code != ErrorCode::JETSTREAM_NOT_ENABLED => JetStreamError::Unreachable(why),
        _ => JetStreamError::Refused(why),
    }
}

/// Everything on which the history rests. What the operator may choose (sizes, placement, replicas) is not here.
fn compare(found: &Config, wanted: &Config) -> Result<(), JetStreamError> {
    let name = &found.name;
    same(name, "description", &found.description, &wanted.description)?;
    same(name, "subjects", &found.subjects, &wanted.subjects)?;
    same(name, "retention", &found.retention, &wanted.retention)?;
    same(name, "discard", &found.discard, &wanted.discard)?;
    same(name, "storage", &found.storage, &wanted.storage)?;
    same(name, "max_age", &found.max_age, &Duration::ZERO)?;
    same(name, "max_msgs_per_subject", &found.max_messages_per_subject.max(0), &0)?;
    same(name, "no_ack", &found.no_ack, &false)?;
    same(name, "sealed", &found.sealed, &false)?;
    same(name, "deny_purge", &found.deny_purge, &false)?;
    same(name, "a mirror", &found.mirror.is_some(), &false)?;
    same(name, "has sources", &found.sources.is_some(), &false)?;
    same(name, "subject_transform", &found.subject_transform.is_some(), &false)?;
    // That mode acknowledges before anything is written.
    same(name, "persist_mode async", &(found.persist_mode == Some(PersistenceMode::Async)), &false)
}

fn same<T: PartialEq + Debug>(what: &str, setting: &'static str, found: &T, wanted: &T) -> Result<(), JetStreamError> {
    if found == wanted {
        return Ok(());
    }
    let (found, wanted) = (format!("{found:?}"), format!("{wanted:?}"));
    Err(JetStreamError::OtherLayout { what: format!("stream {what}"), setting, found, wanted })
}

async fn bucket(context: &Context, options: &JetStreamOptions) -> Result<(ObjectStore, Promise), JetStreamError> {
    let bucket = subjects::bucket(&options.name);
    let stream = format!("OBJ_{bucket}");
    let unreachable = |error: &dyn std::fmt::Display| JetStreamError::Unreachable(format!("bucket {bucket}: {error}"));
    if found(context, &stream).await?.is_none() {
        let config = object_store::Config {
            bucket: bucket.clone(),
            description: Some("Postbell snapshots 1".into()),
            storage: StorageType::File,
            num_replicas: options.replicas,
            ..object_store::Config::default()
        };
        context.create_object_store(config).await.map_err(|error| unreachable(&error))?;
    }
    let store = context.get_object_store(&bucket).await.map_err(|error| unreachable(&error))?;
    let info = found(context, &stream).await?.ok_or_else(|| unreachable(&"it is gone again"))?;
    let config = &info.cached_info().config;
    same(&stream, "storage", &config.storage, &StorageType::File)?;
    same(&stream, "max_age", &config.max_age, &Duration::ZERO)?;
    Ok((store, promises::replicas(config, options.replicas)))
}

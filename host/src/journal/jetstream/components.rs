//! The components that seats run, where every process that could have a seat finds them: objects beside the snapshots. None
//! is ever removed: which seats of which processes still name one, nobody knows alone.

use async_nats::jetstream::object_store::{GetErrorKind, InfoErrorKind, ObjectMetadata};
use tokio::io::AsyncReadExt;

use super::{Store, failed};
use crate::journal::{ComponentId, JournalError, KeptComponent};

/// See [`crate::journal::Journal::put_component`].
pub(super) async fn put(store: &Store, id: ComponentId, kept: KeptComponent) -> Result<(), JournalError> {
    let signed = kept.signature.is_some();
    if store.has_component(id, signed) {
        return Ok(());
    }
    // The signature first: a component that is there has its signature.
    if let Some(signature) = kept.signature {
        write(store, &signature_name(id), signature.as_bytes()).await?;
    }
    if !is_there(store, &name(id)).await? {
        write(store, &name(id), &kept.component).await?;
    }
    store.note_component(id, signed);
    Ok(())
}

/// See [`crate::journal::Journal::component`].
pub(super) async fn get(store: &Store, id: ComponentId) -> Result<Option<KeptComponent>, JournalError> {
    let Some(component) = read(store, &name(id)).await? else { return Ok(None) };
    let signature = read(store, &signature_name(id)).await?;
    let signature = signature.map(|signature| String::from_utf8_lossy(&signature).into_owned());
    Ok(Some(KeptComponent { component, signature }))
}

fn name(id: ComponentId) -> String {
    format!("components/{id}")
}

fn signature_name(id: ComponentId) -> String {
    format!("components/{id}.signature")
}

async fn is_there(store: &Store, name: &str) -> Result<bool, JournalError> {
    let look = async {
        match store.snapshots.info(name).await {
            Ok(info) => Ok(!info.deleted),
            Err(error) if matches!(error.kind(), InfoErrorKind::NotFound) => Ok(false),
            Err(error) => Err(failed(&error)),
        }
    };
    store.within(look).await
}

async fn write(store: &Store, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
    let metadata = ObjectMetadata { name: name.to_owned(), ..ObjectMetadata::default() };
    store.snapshots.put(metadata, &mut &*bytes).await.map(drop).map_err(|error| failed(&error))
}

/// None: there is no such object.
async fn read(store: &Store, name: &str) -> Result<Option<Vec<u8>>, JournalError> {
    let mut reader = match store.snapshots.get(name).await {
        Ok(reader) => reader,
        Err(error) if matches!(error.kind(), GetErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut bytes = Vec::new();
    // To its end, where its digest is compared.
    store.within(async { reader.read_to_end(&mut bytes).await.map_err(|error| failed(&error)) }).await?;
    Ok(Some(bytes))
}

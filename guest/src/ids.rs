//! What clients are given to hold: subscription ids and watermarks. Both are keyed functions of the seed, so nobody can
//! invent them, and the same history gives the same ones.

use serde::{Deserialize, Serialize};
use siphasher::sip128::SipHasher24;

use crate::contract::RequestId;
use crate::history::Position;
use crate::mailboxes::MailboxNo;
use crate::reply::{base64url_text, decode_base64url};
use crate::subscriptions::SubscriptionId;

/// Bytes of a watermark that tell it from an invention.
const TAG: usize = 9;

/// A place in the history of a mailbox, as clients hold it.
pub type Watermark = [u8; 12 + TAG];

/// The tenant's secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    ids: [u8; 16],
    watermarks: [u8; 16],
    /// When the state was last found to be older than what clients had been told, in milliseconds since the Unix epoch:
    /// watermarks from before are void. 0: never.
    pub era: u64,
}

impl Keys {
    /// The secrets that follow from the tenant's seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let (mut ids, mut watermarks) = ([0; 16], [0; 16]);
        ids.copy_from_slice(&seed[..16]);
        watermarks.copy_from_slice(&seed[16..]);
        Self { ids, watermarks, era: 0 }
    }

    /// The id of the subscription that a request makes.
    pub fn subscription(&self, request: RequestId) -> SubscriptionId {
        let mut said = [0; 20];
        said[..12].copy_from_slice(b"subscription");
        said[12..].copy_from_slice(&request.to_be_bytes());
        SipHasher24::new_with_key(&self.ids).hash(&said).as_bytes()
    }

    /// The UUID of the WaitSet that a request makes, as the `index`-th of a batch: version 4 in its form (RFC 9562).
    pub fn wait_set(&self, request: RequestId, index: u32) -> [u8; 16] {
        let mut said = [0; 20];
        said[..8].copy_from_slice(b"wait-set");
        said[8..16].copy_from_slice(&request.to_be_bytes());
        said[16..].copy_from_slice(&index.to_be_bytes());
        let mut uuid = SipHasher24::new_with_key(&self.ids).hash(&said).as_bytes();
        uuid[6] = uuid[6] & 0x0F | 0x40;
        uuid[8] = uuid[8] & 0x3F | 0x80;
        uuid
    }

    /// A positive number of 31 bits for an item whose source has none.
    pub fn item_number(&self, id: &str) -> u64 {
        let hash = SipHasher24::new_with_key(&self.ids).hash(id.as_bytes());
        (hash.h1 & 0x7FFF_FFFF).max(1)
    }

    /// 16 hexadecimal digits that name a request in faults and logs.
    pub fn trace(&self, request: RequestId) -> String {
        let hash = SipHasher24::new_with_key(&self.ids).hash(&request.to_be_bytes());
        hex(&hash.h1.to_be_bytes())
    }

    /// A position in the history of a mailbox, for a client to bring back: sequence, index and tag. As text, it is in base64
    /// of the URL-safe alphabet.
    pub fn watermark(&self, mailbox: MailboxNo, position: Position) -> Watermark {
        let mut bytes = [0; 12 + TAG];
        bytes[..8].copy_from_slice(&position.sequence.to_be_bytes());
        bytes[8..12].copy_from_slice(&position.index.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tag(mailbox, position));
        bytes
    }

    /// The position that a watermark of this mailbox says; none if it is foreign, invented or of a lost time.
    pub fn position(&self, mailbox: MailboxNo, watermark: &str) -> Option<Position> {
        let bytes = decode_base64url(watermark)?;
        let (sequence, rest) = bytes.split_first_chunk::<8>()?;
        let (index, tag) = rest.split_first_chunk::<4>()?;
        let position = Position { sequence: u64::from_be_bytes(*sequence), index: u32::from_be_bytes(*index) };
        (*tag == self.tag(mailbox, position)).then_some(position)
    }

    fn tag(&self, mailbox: MailboxNo, position: Position) -> [u8; TAG] {
        let mut said = [0; 33];
        said[..9].copy_from_slice(b"watermark");
        said[9..17].copy_from_slice(&self.era.to_be_bytes());
        said[17..21].copy_from_slice(&mailbox.to_be_bytes());
        said[21..29].copy_from_slice(&position.sequence.to_be_bytes());
        said[29..].copy_from_slice(&position.index.to_be_bytes());
        let hash = SipHasher24::new_with_key(&self.watermarks).hash(&said).as_bytes();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&hash[..TAG]);
        tag
    }
}

/// Bytes as hexadecimal digits, in small letters.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// A subscription's id as text: 22 letters.
pub fn subscription_text(id: &SubscriptionId) -> String {
    base64url_text(id)
}

/// The id that a text says, if it can be one.
pub fn subscription_id(text: &str) -> Option<SubscriptionId> {
    decode_base64url(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_is_good_for_its_mailbox_only() {
        let keys = Keys::from_seed(&[7; 32]);
        let position = Position { sequence: 41, index: 3 };
        let text = base64url_text(&keys.watermark(5, position));
        assert_eq!(text.len(), 28);
        assert_eq!(keys.position(5, &text), Some(position));
        assert_eq!(keys.position(6, &text), None);
        assert_eq!(Keys { era: 1, ..keys.clone() }.position(5, &text), None);
        assert_eq!(keys.position(5, "AAAA"), None);
        assert_eq!(keys.position(5, ""), None);
        assert_eq!(subscription_id(&subscription_text(&keys.subscription(9))), Some(keys.subscription(9)));
    }
}

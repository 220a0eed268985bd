//! That a tenant changes its component: the record of it, and what is kept of it in snapshots. As these types are here,
//! they are stored.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Input;
use super::format::byte_string;
use crate::contract::requests::Settlement;

/// SHA-256 of a component: its identity. Shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(pub [u8; 32]);

impl ComponentId {
    /// The first 8 bytes, big-endian: what digests name a component by.
    pub fn prefix(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl std::fmt::Display for ComponentId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ComponentId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ComponentId({self})")
    }
}

impl FromStr for ComponentId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a SHA-256 has 64 hexadecimal digits";
        let mut id = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(EXPECTED);
        }
        for (byte, place) in id.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[place..place + 2], 16).map_err(|_| EXPECTED)?;
        }
        Ok(ComponentId(id))
    }
}

impl Serialize for ComponentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        byte_string::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for ComponentId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = byte_string::deserialize(deserializer)?;
        let bytes = bytes.try_into().map_err(|_| serde::de::Error::custom("a SHA-256 has 32 bytes"));
        bytes.map(ComponentId)
    }
}

/// The component of the inputs that follow is another one. It has seen what came before as well: from `base` on, every
/// input up to this record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swapped {
    /// The component of the inputs before. Absent: it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Former>,
    /// The component of the inputs that follow.
    pub to: ComponentId,
    /// It goes back to what was there before. Absent: no.
    #[serde(default)]
    pub back: bool,
    /// The one that the configuration named then.
    pub configured: ComponentId,
    /// Where its state began.
    pub base: Base,
    /// Inputs between base and record of which it was given something else, by their sequence. Absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instead: Vec<(u64, Instead)>,
}

/// A component that another one has taken over from, and that may be gone back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The component.
    pub component: ComponentId,
    /// The state formats that it loads.
    pub formats: Vec<String>,
}

/// Where the state of a component began that took over from another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// With the first input of the history.
    Open,
    /// With the snapshot at this sequence.
    Snapshot(u64),
    /// With nothing, behind an input.
    Fresh(Box<Fresh>),
}

impl Base {
    /// The last input that it stands for.
    pub fn sequence(&self) -> u64 {
        match self {
            Base::Open => 0,
            Base::Snapshot(sequence) => *sequence,
            Base::Fresh(fresh) => fresh.sequence,
        }
    }
}

/// A state that was opened anew in the middle of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fresh {
    /// The last input before it.
    pub sequence: u64,
    /// The tenant's time at it, in milliseconds since the Unix epoch.
    pub now: u64,
    /// 32 random bytes.
    #[serde(with = "byte_string")]
    pub seed: Vec<u8>,
    /// The plugin's settings.
    pub settings: Vec<(String, String)>,
    /// What of each source was applied.
    pub offsets: BTreeMap<String, u64>,
}

/// What a component was given in place of an input, because that speaks of what another component did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instead {
    /// Nothing.
    Nothing,
    /// These settlements.
    Settled(Vec<Settlement>),
}

impl Instead {
    /// As an input; none: nothing.
    pub(crate) fn input(&self) -> Option<Input> {
        match self {
            Instead::Nothing => None,
            Instead::Settled(settlements) => Some(Input::Settled(settlements.clone())),
        }
    }
}

/// Which component a tenant runs, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenure {
    /// The component.
    pub component: ComponentId,
    /// The sequence of the record that tells of it; 0: none does, it was there from the beginning.
    pub since: u64,
    /// The tenant's time then, in milliseconds since the Unix epoch; 0: not known.
    pub since_now: u64,
    /// The component before it.
    pub previous: Option<Former>,
    /// It was gone back to.
    #[serde(default)]
    pub back: bool,
    /// The one that the configuration named then.
    pub configured: ComponentId,
}

impl Tenure {
    /// What begins with a record of this sequence and time.
    pub fn of(swapped: &Swapped, sequence: u64, now: u64) -> Tenure {
        let Swapped { from, to, back, configured, .. } = swapped;
        let (component, previous) = (*to, from.clone());
        Tenure { component, since: sequence, since_now: now, previous, back: *back, configured: *configured }
    }

    /// That of a component which is there from the beginning.
    pub fn first(component: ComponentId) -> Tenure {
        Tenure { component, since: 0, since_now: 0, previous: None, back: false, configured: component }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_named_by_its_digits() {
        let id = ComponentId(std::array::from_fn(|place| place as u8 * 8));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.prefix(), 0x0008_1018_2028_3038);
        for wrong in ["", "00", &"é".repeat(32), &"g".repeat(64)] {
            assert!(wrong.parse::<ComponentId>().is_err(), "{wrong}");
        }
    }
}

//! What it saves cannot be loaded (`garbage`), is not what it loads (`fickle`), or never ends (`endless`).

use crate::exports::postbell::notify::lifecycle::LoadError;
use crate::parameter;
use crate::plugin::{Plugin, State};

pub struct Program;

impl Plugin for Program {
    fn save(&self, state: &mut State, part: u32) -> Option<Vec<u8>> {
        match &*parameter() {
            "endless" => Some(vec![part as u8; 1 << 20]),
            "fickle" => {
                state.calls += 1;
                (part == 0).then(|| (state.calls + state.count).to_le_bytes().to_vec())
            }
            _ => (part == 0).then(|| b"garbage".to_vec()),
        }
    }

    fn load(&self, _state: &mut State, _part: &[u8]) -> Result<(), LoadError> {
        if parameter() == "garbage" { Err(LoadError::Corrupt("what is that?".into())) } else { Ok(()) }
    }
}

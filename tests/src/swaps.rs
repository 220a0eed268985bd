//! Components to swap: the built-in one in several editions, and a small guest in many versions.

/// The guest's component, with `version=first`.
static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/postbell-swap-guest.wasm"));

/// Before the version's name.
const MARK: &[u8] = b"postbell-swap-guest version=";

/// How long a version's name may be.
const NAME_BYTES: usize = 20;

/// The small guest in this version; see `tests/guests/swap`.
///
/// # Panics
///
/// The name is too long.
pub fn guest(version: &str) -> Vec<u8> {
    assert!(version.len() <= NAME_BYTES, "{version} is too long");
    let mut component = GUEST.to_vec();
    let mark = component.windows(MARK.len()).position(|bytes| bytes == MARK).expect("the guest has its mark");
    let name = &mut component[mark + MARK.len()..][..NAME_BYTES];
    name.fill(b' ');
    name[..version.len()].copy_from_slice(version.as_bytes());
    component
}

/// The same component under another identity: a custom section, which means nothing, says which edition it is.
pub fn edition(component: &[u8], edition: u8) -> Vec<u8> {
    const NAME: &[u8] = b"edition";
    let mut component = component.to_vec();
    component.extend([0, NAME.len() as u8 + 2, NAME.len() as u8]);
    component.extend(NAME);
    component.push(edition);
    component
}

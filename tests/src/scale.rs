//! How much benches do: enough to measure, or as little as shows that they work.

/// So much; with `SCALE=smoke` in the environment only so much.
pub fn scaled<T>(full: T, smoke: T) -> T {
    match std::env::var("SCALE") {
        Ok(scale) if scale == "smoke" => smoke,
        _ => full,
    }
}

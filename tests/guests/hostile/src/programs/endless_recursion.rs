//! It calls itself for ever in the function that the parameter names.

use crate::parameter;
use crate::plugin::Plugin;

pub struct Program;

impl Plugin for Program {
    fn enter(&self, function: &str) {
        if function == parameter() {
            deeper(1);
        }
    }
}

#[expect(unconditional_recursion, reason = "that is what it does")]
fn deeper(depth: u64) -> u64 {
    std::hint::black_box(deeper(std::hint::black_box(depth + 1)) + depth)
}

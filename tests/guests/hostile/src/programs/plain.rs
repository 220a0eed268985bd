//! It keeps every rule: the neighbour of all the others.

use crate::plugin::Plugin;

pub struct Program;

impl Plugin for Program {}

//! Its manifest is none that can be used, in the way that the parameter names.

use crate::exports::postbell::notify::lifecycle::{Manifest, Route};
use crate::parameter;
use crate::plugin::Plugin;

pub struct Program;

impl Plugin for Program {
    fn describe(&self) -> Manifest {
        let route = |prefix: &str| Route {
            prefix: prefix.into(),
            methods: vec!["POST".into()],
            headers: vec![],
            schemes: vec![],
            park_ms: u64::MAX,
        };
        let good = Manifest {
            name: "hostile".into(),
            version: "1".into(),
            routes: vec![route("/")],
            state_formats: vec!["hostile/1".into()],
        };
        match &*parameter() {
            "name" => Manifest { name: "../hostile".into(), ..good },
            "version" => Manifest { version: "1\"} 1\nforged{a=\"".into(), ..good },
            "formats" => Manifest { state_formats: vec![], ..good },
            "prefix" => Manifest { routes: vec![route("ews")], ..good },
            "twice" => Manifest { routes: vec![route("/a"), route("/A/")], ..good },
            "many" => Manifest { routes: (0..10_000).map(|number| route(&format!("/{number}"))).collect(), ..good },
            "long" => Manifest { version: "1".repeat(1 << 20), ..good },
            other => panic!("no such lie: {other}"),
        }
    }
}

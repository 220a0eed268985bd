//! Which route of a plugin a request takes.

use crate::contract::lifecycle::Route;
use crate::plugin;

/// What a path and a method lead to.
#[derive(Debug)]
pub enum Routed<'a> {
    /// The plugin's route.
    To(&'a Route),
    /// There is a route, but not for this method; `Allow` names those that it has.
    WrongMethod(&'a Route),
    /// No route.
    Nowhere,
}

/// The route that a path belongs to, if it takes this method.
pub fn find<'a>(routes: &'a [Route], method: &str, path: &str) -> Routed<'a> {
    match plugin::route(routes, path) {
        Some(route) if route.methods.iter().any(|known| known == method) => Routed::To(route),
        Some(route) => Routed::WrongMethod(route),
        None => Routed::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, methods: &[&str]) -> Route {
        Route {
            prefix: prefix.to_owned(),
            methods: methods.iter().map(ToString::to_string).collect(),
            headers: Vec::new(),
            schemes: Vec::new(),
            park_ms: 0,
        }
    }

    fn check(method: &str, path: &str, expected: &str) {
        let routes = [
            route("/EWS/Exchange.asmx", &["POST"]),
            route("/service/soap/", &["POST"]),
            route("/service", &["GET", "POST"]),
        ];
        let found = match find(&routes, method, path) {
            Routed::To(route) => route.prefix.clone(),
            Routed::WrongMethod(route) => format!("not {}", route.prefix),
            Routed::Nowhere => "nowhere".to_owned(),
        };
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn whole_segments_match_without_regard_to_case() {
        check("POST", "/EWS/Exchange.asmx", "/EWS/Exchange.asmx");
        check("POST", "/ews/exchange.ASMX", "/EWS/Exchange.asmx");
        check("POST", "/ews/exchange.asmx/x", "/EWS/Exchange.asmx");
        check("POST", "/ews/exchange.asmxx", "nowhere");
        check("POST", "/ews", "nowhere");
        check("POST", "/", "nowhere");
        check("POST", "*", "nowhere");
        check("POST", "/ews/exchange.asm\u{fc}", "nowhere");
    }

    #[test]
    fn the_longest_prefix_wins() {
        check("POST", "/service/soap", "/service/soap/");
        check("POST", "/service/soap/BatchRequest", "/service/soap/");
        check("POST", "/service/soapy", "/service");
        check("GET", "/service/preauth", "/service");
    }

    #[test]
    fn a_route_has_its_methods_only() {
        check("GET", "/EWS/Exchange.asmx", "not /EWS/Exchange.asmx");
        check("post", "/EWS/Exchange.asmx", "not /EWS/Exchange.asmx");
        check("GET", "/service/soap/x", "not /service/soap/");
    }

    #[test]
    fn a_prefix_of_nothing_but_a_slash_takes_every_path() {
        let routes = [route("/", &["GET"])];
        assert!(matches!(find(&routes, "GET", "/any/thing"), Routed::To(_)));
        assert!(matches!(find(&routes, "GET", "/"), Routed::To(_)));
    }
}

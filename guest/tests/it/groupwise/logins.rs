//! Logins in every spelling that clients have, and the life of sessions.

use super::*;

const MINUTE: u64 = 60_000;

fn sample(name: &str) -> String {
    let path = format!("{}/tests/samples/groupwise-{name}.xml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn noop(world: &mut World, session: &str) -> u32 {
    status(&send(world, &soap(session, "<getTimestampRequest><noop>1</noop></getTimestampRequest>")))
}

#[test]
fn requests_with_the_namespaces_of_the_schema_are_understood() {
    let mut world = World::new();
    book(
        &mut world,
        (0..30).map(|number| BookChange::Added(entry("contact", &format!("e{number:02}"), "x"))).collect(),
    );
    let login = send(&mut world, &soap("", &sample("login").replace("secret", "postbell")));
    assert_eq!(status(&login), 0, "{login}");
    for (name, text) in [("name", "alice"), ("email", ALICE), ("userid", "alice"), ("gwVersion", "12.0.1")] {
        assert_eq!(element(&login, name), text, "{login}");
    }
    let session = element(&login, "session");
    assert_eq!(short(&send(&mut world, &soap(&session, &sample("getDeltaInfo")))), "0 [1 30]");
    let stamp = element(&on_book(&mut world, &session, "getDeltaInfo", ""), "lastTimePORebuild");
    let deltas = sample("getDeltas").replace("1160000000", &stamp);
    let items: String = (23..30).map(|number| format!(" add:e{number}=x")).collect();
    assert_eq!(short(&send(&mut world, &soap(&session, &deltas))), format!("0{items} [7 1 30]"));
    assert_eq!(status(&send(&mut world, &soap(&session, &sample("getDeltas")))), 55062, "another rebuild's");
    assert_eq!(status(&send(&mut world, &soap(&session, &sample("logout")))), 0);
    assert_eq!(noop(&mut world, &session), 59910);
}

/// Namespaces that are old, wrong or missing; other orders; what is missing; types with and without `xsi`.
#[test]
fn logins_are_understood_in_every_spelling() {
    let user = "<username>alice</username><password>postbell</password>";
    let mut world = World::new();
    for operation in [
        format!("<loginRequest><auth>{user}</auth></loginRequest>"),
        format!(
            "<loginRequest><application>Evolution</application><version>1.02</version><types:auth xmlns:types='urn:x' xsi:type='types:PlainText' xmlns:xsi='http://www.w3.org/1999/XMLSchema-instance'>{user}</types:auth></loginRequest>"
        ),
        format!(
            "<loginRequest><auth type='types:PlainText'>{user}</auth><language>us</language><version>1</version></loginRequest>"
        ),
        format!(
            "<loginRequest><auth type=' PlainText '>{user}</auth><version>newest</version><language/></loginRequest>"
        ),
        format!(
            "<t:loginRequest xmlns:t='http://schemas.novell.com/2003/10/NCSP/types.xsd'><t:auth>{user}</t:auth><t:userid>0</t:userid></t:loginRequest>"
        ),
    ] {
        let body = send(&mut world, &soap("", &operation));
        assert_eq!(status(&body), 0, "{operation}: {body}");
        assert!(!body.contains("postOffice"), "userid was not asked for: {body}");
        assert_eq!(noop(&mut world, &element(&body, "session")), 0);
    }
}

#[test]
fn other_logins_are_refused() {
    let mut world = World::new();
    let saved = world.saved();
    let user = "<username>alice</username><password>postbell</password>";
    for (auth, expected) in [
        (format!("<auth xsi:type='t:Proxy' xmlns:xsi='urn:x'>{user}<proxy>bob</proxy></auth>"), 59905),
        (format!("<auth type='Proxy'>{user}</auth>"), 59905),
        (format!("<auth>{user}<proxy>bob</proxy></auth>"), 59905),
        ("<auth type='TrustedApplication'><username>alice</username><name>app</name><key>k</key></auth>".into(), 59905),
        ("<auth><username>alice</username><name>app</name><key>k</key></auth>".into(), 59905),
        (format!("<auth type='t:Kerberos'>{user}</auth>"), 59905),
        ("<auth type='PlainText'><password>postbell</password></auth>".into(), 59905),
        (String::new(), 59905),
        (user.into(), 59905),
        (format!("<auth>{user}</auth><userid>perhaps</userid>"), 59905),
        ("<auth><username>alice</username></auth>".into(), 53273),
        ("<auth><username>nobody</username><password>x</password></auth>".into(), 53273),
    ] {
        let body = send(&mut world, &soap("", &format!("<loginRequest>{auth}</loginRequest>")));
        assert_eq!(status(&body), expected, "{auth}: {body}");
        assert!(!body.contains("session"), "{body}");
    }
    assert_eq!(world.saved(), saved);
}

/// Sessions stand in the header, in the operation (dsapp), or in both.
#[test]
fn a_session_is_found_wherever_clients_put_it() {
    let mut world = World::new();
    let session = log_in(&mut world);
    let operation = format!("<getTimestampRequest><session>{session}</session></getTimestampRequest>");
    assert_eq!(status(&send(&mut world, &soap("", &operation))), 0);
    let both = format!("<logoutRequest><session>{session}</session></logoutRequest>");
    let traced = soap(&session, &both).replace("<s:Header>", "<s:Header><gwTrace>1</gwTrace>");
    let traced = traced.replace("<s:Body>", "<s:Body s:encodingStyle=''>");
    assert_eq!(status(&send(&mut world, &traced)), 0);
    assert_eq!(noop(&mut world, &session), 59910);
}

#[test]
fn a_session_ends_when_it_is_idle_or_logged_out() {
    let mut world = World::new();
    let session = log_in(&mut world);
    for _ in 0..2 {
        world.wait(29 * MINUTE);
        assert_eq!(noop(&mut world, &session), 0);
    }
    world.wait(31 * MINUTE);
    assert_eq!(noop(&mut world, &session), 59910);
    let session = log_in(&mut world);
    let logout = soap(&session, "<logoutRequest/>");
    assert_eq!((status(&send(&mut world, &logout)), status(&send(&mut world, &logout))), (0, 59910));
}

#[test]
fn with_one_session_too_many_the_one_idle_longest_ends() {
    let mut world = World::with(&[("groupwise-sessions-per-account", "2")]);
    let first = log_in(&mut world);
    let second = log_in(&mut world);
    world.wait(MINUTE);
    assert_eq!(noop(&mut world, &first), 0, "so it is the second that is idle longest");
    let third = log_in(&mut world);
    assert_eq!([&first, &second, &third].map(|session| noop(&mut world, session)), [0, 59910, 0]);
    let displaced = |world: &World| {
        let gauges = world.notify.inspect();
        gauges.into_iter().find(|gauge| gauge.name == "groupwise_sessions_displaced").map(|gauge| gauge.value)
    };
    assert_eq!(displaced(&world), Some(1.0));
}

#[test]
fn a_closed_account_has_no_sessions() {
    let mut world = World::new();
    let session = log_in(&mut world);
    world.happens(Happening::AccountClosed);
    assert_eq!(noop(&mut world, &session), 59910);
    let auth = "<auth><username>alice</username><password>postbell</password></auth>";
    assert_eq!(status(&send(&mut world, &soap("", &format!("<loginRequest>{auth}</loginRequest>")))), 53273);
}

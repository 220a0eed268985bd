//! Logging in and out, and what a request says of itself.

use super::*;

fn head(path: &str, cookie: &str) -> RequestHead {
    let headers = if cookie.is_empty() { vec![] } else { vec![("cookie".into(), cookie.into())] };
    RequestHead { method: "POST".into(), path: path.into(), headers, ..RequestHead::default() }
}

fn claims(path: &str, body: &str) -> Claims {
    postbell_notify::identify(&head(path, ""), body.as_bytes())
}

fn bare(operation: &str) -> String {
    format!("<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body>{operation}</Body></Envelope>")
}

#[test]
fn passwords_are_found_in_every_shape() {
    let password = |login: &str, administrator| {
        Some(Credential::Password(Password { login: login.into(), secret: "p&w".into(), administrator }))
    };
    for (body, administrator) in [
        (bare("<AuthRequest xmlns=\"urn:zimbraAccount\"><account by=\"name\">al</account><password>p&amp;w</password></AuthRequest>"), false),
        (bare("<AuthRequest xmlns=\"urn:zimbraAdmin\" name=\"al\" password=\"p&amp;w\"/>"), true),
        (bare("<AuthRequest xmlns=\"urn:zimbraAdmin\"><name>al</name><password>p&amp;w</password></AuthRequest>"), true),
        (bare("<z:AuthRequest xmlns:z=\"urn:zimbraAdmin\"><z:account by=\"name\">al</z:account><z:password>p&amp;w</z:password></z:AuthRequest>"), true),
        (r#"{"Body":{"AuthRequest":{"_jsns":"urn:zimbraAccount","account":{"by":"name","_content":"al"},"password":"p&w"}}}"#.into(), false),
        (r#"{"Body":{"AuthRequest":{"_jsns":"urn:zimbraAccount","account":[{"by":"name","_content":"al"}],"password":{"_content":"p&w"}}}}"#.into(), false),
        ("{Body:{AuthRequest:{_jsns:'urn:zimbraAdmin',name:'al',password:'p&w'}}}".into(), true),
    ] {
        let claims = claims("/service/admin/soap/", &body);
        assert_eq!(claims.credential, password("al", administrator), "{body}");
        assert!(claims.wants_token);
        let hidden: Vec<&str> = claims.secrets.iter().map(|it| &body[it.start as usize..(it.start + it.length) as usize]).collect();
        assert!(matches!(hidden[..], ["p&w" | "p&amp;w"]), "{hidden:?}");
    }
}

#[test]
fn preauth_and_earlier_tokens_are_found() {
    let preauth = "<AuthRequest xmlns=\"urn:zimbraAccount\"><account by=\"id\">7</account><preauth timestamp=\"12\" expires=\"0\">abc</preauth></AuthRequest>";
    let expected = Preauth {
        account: AccountName::Id("7".into()),
        timestamp: 12,
        expires: 0,
        digest: "abc".into(),
        administrator: false,
    };
    assert_eq!(claims("/service/soap", &bare(preauth)).credential, Some(Credential::Preauth(expected)));
    let token = "<AuthRequest xmlns=\"urn:zimbraAccount\"><authToken>tok</authToken></AuthRequest>";
    assert_eq!(claims("/service/soap", &bare(token)).credential, Some(Credential::Token("tok".into())));
    assert_eq!(
        claims("/service/soap", &soap("<NoOpRequest xmlns=\"urn:zimbraMail\"/>")).credential,
        Some(Credential::Token("t".into()))
    );
    let cookies = "a=b; ZM_AUTH_TOKEN=user; ZM_ADMIN_AUTH_TOKEN=admin";
    for (path, expected) in
        [("/service/soap/NoOpRequest", "user"), ("/service/admin/soap", "admin"), ("/SERVICE/SOAP", "user")]
    {
        let claims =
            postbell_notify::identify(&head(path, cookies), bare("<NoOpRequest xmlns=\"urn:zimbraMail\"/>").as_bytes());
        assert_eq!(claims.credential, Some(Credential::Token(expected.into())), "{path}");
        assert!(!claims.ends_login && claims.secrets.is_empty());
    }
    let out = soap("<EndSessionRequest xmlns=\"urn:zimbraAccount\"/>");
    assert!(claims("/service/soap", &out).ends_login);
    assert!(!claims("/service/soap", &out.replace("Request ", "Request logoff=\"0\" ")).ends_login);
    assert!(!claims("/service/soap", &out.replace("zimbraAccount", "zimbraMail")).ends_login);
}

#[test]
fn a_login_is_answered_with_the_hosts_token() {
    let mut world = World::new();
    let body = bare(
        "<AuthRequest xmlns=\"urn:zimbraAccount\" persistAuthTokenCookie=\"1\"><account>alice</account><password>p</password></AuthRequest>",
    );
    let answer = send(&mut world, USER, &body);
    expect_test::expect![[r#"<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Header><context xmlns="urn:zimbra"><change token="1"/></context></soap:Header><soap:Body><AuthResponse xmlns="urn:zimbraAccount"><authToken>placeholder</authToken><lifetime>172800000</lifetime></AuthResponse></soap:Body></soap:Envelope>"#]].assert_eq(&answer.body());
    let cookie = answer.reaction.replies[0].headers.iter().find(|(name, _)| name == "Set-Cookie").expect("a cookie");
    assert_eq!(cookie.1, "ZM_AUTH_TOKEN=placeholder; Path=/; HttpOnly; SameSite=Lax; Max-Age=172800");
    assert!(!answer.reaction.changed);
    let body = r#"{"Body":{"AuthRequest":{"_jsns":"urn:zimbraAdmin","name":"admin","password":"p"}}}"#;
    expect_test::expect![[r#"{"Header":{"context":{"change":{"token":0},"_jsns":"urn:zimbra"}},"Body":{"AuthResponse":{"authToken":[{"_content":"placeholder"}],"lifetime":172800000,"_jsns":"urn:zimbraAdmin"}},"_jsns":"urn:zimbraSoap"}"#]].assert_eq(&send(&mut world, ROOT, body).body());
}

#[test]
fn refused_logins_say_why() {
    let auth =
        bare("<AuthRequest xmlns=\"urn:zimbraAccount\"><account>zoe</account><password>p</password></AuthRequest>");
    let admin = auth.replace("zimbraAccount", "zimbraAdmin");
    let no_op = soap("<NoOpRequest xmlns=\"urn:zimbraMail\"/>");
    for (body, denial, code) in [
        (&auth, Denial::WrongSecret, "account.AUTH_FAILED"),
        (&auth, Denial::UnknownLogin, "account.AUTH_FAILED"),
        (&auth, Denial::NotPermitted, "account.AUTH_FAILED"),
        (&auth, Denial::Missing, "service.INVALID_REQUEST"),
        (&auth, Denial::Inactive, "account.ACCOUNT_INACTIVE"),
        (&auth, Denial::Throttled, "service.TEMPORARILY_UNAVAILABLE"),
        (&admin, Denial::NotPermitted, "service.PERM_DENIED"),
        (&admin, Denial::WrongSecret, "account.AUTH_FAILED"),
        (&no_op, Denial::Missing, "service.AUTH_REQUIRED"),
        (&no_op, Denial::UnknownToken, "service.AUTH_REQUIRED"),
        (&no_op, Denial::Expired, "service.AUTH_EXPIRED"),
    ] {
        let mut world = World::new();
        let request = Request { access: Access::Denied(denial), ..request(&mut world, ROOT, body) };
        let at = world.at();
        let reaction = world.notify.answer(at, &request);
        assert_eq!(
            (reaction.replies[0].status, short(&text(&reaction.replies[0])).as_str()),
            (500, code),
            "{denial:?}"
        );
        assert!(!reaction.changed);
    }
}

#[test]
fn what_clients_ask_around_wait_sets() {
    let mut world = World::new();
    let body = |world: &mut World, operation: &str| inside(&send(world, USER, &soap(operation)).body());
    let info = body(&mut world, "<GetInfoRequest xmlns=\"urn:zimbraAccount\" sections=\"mbox\"/>");
    assert!(
        info.contains("<id>alice@example.org</id><name>alice@example.org</name><lifetime>172800000</lifetime>"),
        "{info}"
    );
    assert_eq!(body(&mut world, "<NoOpRequest xmlns=\"urn:zimbraMail\"/>"), "<NoOpResponse xmlns=\"urn:zimbraMail\"/>");
    let waits = body(&mut world, "<NoOpRequest xmlns=\"urn:zimbraMail\" wait=\"1\"/>");
    assert_eq!(waits, "<NoOpResponse xmlns=\"urn:zimbraMail\" waitDisallowed=\"1\"/>");
    let out = body(&mut world, "<EndSessionRequest xmlns=\"urn:zimbraAccount\"/>");
    assert_eq!(out, "<EndSessionResponse xmlns=\"urn:zimbraAccount\"/>");
}

#[test]
fn administrators_operations_are_theirs() {
    let mut world = World::new();
    let create = soap("<AdminCreateWaitSetRequest xmlns=\"urn:zimbraAdmin\" defTypes=\"m\"/>");
    for (who, expected) in [
        (USER, "service.UNKNOWN_DOCUMENT"),
        (As { path: ROOT.path, ..USER }, "service.PERM_DENIED"),
        (As { rank: Rank::DelegatedAdministrator, ..ROOT }, "seq=0"),
        (ROOT, "seq=0"),
    ] {
        assert_eq!(short(&send(&mut world, who, &create).body()), expected);
    }
    let query = soap("<QueryWaitSetRequest xmlns=\"urn:zimbraAdmin\"/>");
    let delegated = As { rank: Rank::DelegatedAdministrator, ..ROOT };
    assert_eq!(short(&send(&mut world, delegated, &query).body()), "service.PERM_DENIED");
}

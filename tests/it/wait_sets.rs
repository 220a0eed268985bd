//! WaitSets over real sockets: clients in the shapes that they come in, and servers that start again.

use anyhow::{Context, Result, ensure};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::http::{Answer, Connection, request};
use postbell_tests::program::Server;
use postbell_tests::zimbra::{ADMIN_PATH, PATH, attribute, auth, create, list, soap, wait};
use serde_json::{Value, json};

use crate::demo;

const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";
const CAROL: &str = "carol@example.org";
const XML: &str = "application/soap+xml; charset=utf-8";

/// Posts a body.
fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    Connection::open(server.clients)?.ask(&request("POST", path, headers, body.as_bytes()))
}

fn post_xml(server: &Server, path: &str, body: &str) -> Result<String> {
    Ok(post(server, path, &[("Content-Type", XML)], body)?.body)
}

/// What stands in the first element of this name.
fn text<'a>(answer: &'a str, name: &str) -> Result<&'a str> {
    let (_, rest) = answer.split_once(&format!("<{name}>")).with_context(|| format!("{name} in {answer}"))?;
    rest.split('<').next().context("its end")
}

fn token(server: &Server, login: &str) -> Result<String> {
    let answer = post_xml(server, PATH, &auth(login, "postbell"))?;
    Ok(text(&answer, "authToken")?.to_owned())
}

fn admin_token(server: &Server) -> Result<String> {
    let body = "<soap:Envelope xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\"><soap:Body><AuthRequest \
                xmlns=\"urn:zimbraAdmin\" name=\"admin@example.org\" password=\"postbell\"/></soap:Body></soap:Envelope>";
    let answer = post_xml(server, ADMIN_PATH, body)?;
    Ok(text(&answer, "authToken")?.to_owned())
}

/// An operation of the administrators' service: the users' one with its name and namespace changed.
fn administrators(operation: &str) -> String {
    let operation = ["CreateWaitSetRequest", "DestroyWaitSetRequest"]
        .iter()
        .fold(operation.to_owned(), |text, name| text.replace(name, &format!("Admin{name}")));
    operation
        .replace("<WaitSetRequest", "<AdminWaitSetRequest")
        .replace("</WaitSetRequest", "</AdminWaitSetRequest")
        .replace("urn:zimbraMail", "urn:zimbraAdmin")
}

/// The ids of the accounts that an answer names.
fn accounts(answer: &str) -> Vec<&str> {
    let mut named: Vec<&str> = answer.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    named.sort_unstable();
    named
}

fn seq(answer: &str) -> Result<String> {
    Ok(attribute(answer, "seq").with_context(|| format!("seq in {answer}"))?.to_owned())
}

#[test]
fn every_path_of_the_two_services_leads_to_them() -> Result<()> {
    let server = demo()?;
    let (token, admin) = (token(&server, ALICE)?, admin_token(&server)?);
    for path in ["/service/soap", "/service/soap/", "/service/soap/CreateWaitSetRequest", "/service/soap/?x=y"] {
        let answer = post_xml(&server, path, &soap(&token, &create("m", "", &[ALICE])))?;
        ensure!(answer.contains("<CreateWaitSetResponse "), "{path}: {answer}");
        let answer = post_xml(&server, path, &soap(&admin, &administrators(&create("m", "", &[ALICE]))))?;
        ensure!(answer.contains("service.UNKNOWN_DOCUMENT"), "{path}: {answer}");
    }
    for path in ["/service/admin/soap", "/service/admin/soap/", "/service/admin/soap/AdminCreateWaitSetRequest"] {
        let answer = post_xml(&server, path, &soap(&admin, &administrators(&create("all", "", &[ALICE, BOB]))))?;
        ensure!(answer.contains("<AdminCreateWaitSetResponse "), "{path}: {answer}");
        ensure!(attribute(&answer, "defTypes") == Some("f,m,c,a,t,d"), "{answer}");
        let answer = post_xml(&server, path, &soap(&token, &administrators(&create("m", "", &[ALICE]))))?;
        ensure!(answer.contains("service.PERM_DENIED"), "{path}: {answer}");
    }
    Ok(())
}

#[test]
fn tokens_come_in_cookies_and_in_every_shape_of_the_context() -> Result<()> {
    let server = demo()?;
    let (token, admin) = (token(&server, "alice")?, admin_token(&server)?);
    let bare = "<soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body><NoOpRequest \
                xmlns=\"urn:zimbraMail\"/></soap:Body></soap:Envelope>";
    let cookie = format!("other=1; ZM_AUTH_TOKEN={token}");
    let admin_cookie = format!("ZM_ADMIN_AUTH_TOKEN={admin}");
    for (path, cookie) in [(PATH, &cookie), (ADMIN_PATH, &admin_cookie)] {
        let answer = post(&server, path, &[("Content-Type", "text/xml"), ("Cookie", cookie)], bare)?;
        ensure!(answer.head.status == 200 && answer.body.contains("<NoOpResponse "), "{answer:?}");
    }
    let answer = post(&server, PATH, &[("Content-Type", "text/xml")], bare)?;
    ensure!(answer.head.status == 500 && answer.body.contains("service.AUTH_REQUIRED"), "{answer:?}");
    ensure!(answer.body.contains("<faultcode>soap:Client</faultcode>"), "a fault of SOAP 1.1: {answer:?}");

    for shape in [json!(token), json!({"_content": token}), json!([{"_content": token}]), json!([token])] {
        for header in [
            json!({"context": {"_jsns": "urn:zimbra", "authToken": shape, "nosession": {}}}),
            json!({"context": [{"_jsns": "urn:zimbra", "authToken": shape, "userAgent": {"name": "test"}, "session": {}}]}),
        ] {
            let operation = json!({"_jsns": "urn:zimbraMail", "defTypes": "f", "add": {"a": [{"name": ALICE}]}});
            let body = json!({"Header": header, "Body": {"CreateWaitSetRequest": operation}});
            let answer = post(&server, PATH, &[("Content-Type", XML)], &body.to_string())?;
            let said: Value = serde_json::from_str(&answer.body)?;
            ensure!(said["Body"]["CreateWaitSetResponse"]["seq"] == 0, "{shape}: {said}");
        }
    }
    // XML asks, JSON answers.
    let asks = soap(&token, &create("all", "", &[])).replace("<nosession/>", "<format type=\"js\"/><nosession/>");
    let said: Value = serde_json::from_str(&post_xml(&server, PATH, &asks)?)?;
    ensure!(said["Body"]["CreateWaitSetResponse"]["defTypes"] == "f,m,c,a,t,d", "{said}");
    Ok(())
}

/// As a mobile gateway does it: one set for all users' accounts, looked at again and again, and accounts come and go.
#[test]
fn an_administrator_acts_for_users_and_watches_all() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let admin = admin_token(&server)?;
    let for_bob = |operation: &str| {
        soap(&admin, operation).replace("<nosession/>", "<nosession/><account by=\"id\">bob@example.org</account>")
    };
    let created = post_xml(&server, ADMIN_PATH, &for_bob(&administrators(&create("m", "", &[BOB]))))?;
    let set = attribute(&created, "waitSet").context("a set")?.to_owned();
    source.change(&[delivered(BOB, "b1", 1)])?;
    // It is bob's set, who uses it himself.
    let answer = post_xml(&server, PATH, &soap(&token(&server, BOB)?, &wait(&set, "0", "", "")))?;
    ensure!(seq(&answer)? == "2" && accounts(&answer) == [BOB], "{answer}");
    let answer = post_xml(&server, ADMIN_PATH, &soap(&admin, &administrators(&wait(&set, "2", "", ""))))?;
    ensure!(answer.contains("service.PERM_DENIED"), "not the administrator's own: {answer}");
    let answer = post_xml(&server, ADMIN_PATH, &for_bob(&administrators(&wait(&set, "2", "", ""))))?;
    ensure!(seq(&answer)? == "2" && accounts(&answer).is_empty(), "{answer}");
    Ok(())
}

/// What was answered before, what happened in between, and who comes back with which number.
#[test]
fn sets_go_on_where_their_clients_are_after_a_crash() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    // Each server has its own tokens.
    let ask = |server: &Server, operation: &str| {
        post_xml(server, ADMIN_PATH, &soap(&admin_token(server)?, &administrators(operation)))
    };
    let some = ask(&server, &create("m", "", &[ALICE, BOB]))?;
    let all = ask(&server, &create("all", "allAccounts=\"1\"", &[]))?;
    let [some, all] = [some, all].map(|answer| attribute(&answer, "waitSet").map(str::to_owned));
    let (some, all) = (some.context("a set")?, all.context("a set")?);
    ensure!(all.starts_with("AllWaitSet-"), "{all}");
    source.deliver("m1", 1)?;
    let heard = ask(&server, &wait(&some, "0", "", ""))?;
    ensure!(seq(&heard)? == "2" && accounts(&heard) == [ALICE], "{heard}");
    let heard = ask(&server, &wait(&all, "0", "", ""))?;
    ensure!(accounts(&heard) == [ALICE], "{heard}");
    let last = seq(&heard)?;
    source.change(&[delivered(BOB, "b1", 1)])?;
    let again = server.again();
    server.kill()?;

    let server = again.start()?;
    let source = Admin::source(&server);
    source.change(&[delivered(CAROL, "c1", 1)])?;
    // This one had its answer, and says so; that one had not.
    let heard = ask(&server, &wait(&some, "2", "block=\"1\"", ""))?;
    ensure!(seq(&heard)? == "3" && accounts(&heard) == [BOB], "{heard}");
    let heard = ask(&server, &wait(&all, &last, "block=\"1\" defTypes=\"all\"", ""))?;
    ensure!(accounts(&heard) == [BOB, CAROL], "{heard}");
    let last = seq(&heard)?;
    let again = server.again();
    server.stop()?;

    let server = again.start()?;
    // The answer with number 3 was lost on its way.
    let heard = ask(&server, &wait(&some, "2", "", ""))?;
    ensure!(seq(&heard)? == "4" && accounts(&heard) == [BOB], "{heard}");
    let heard = ask(&server, &wait(&some, "4", "", &list("remove", &[ALICE])))?;
    ensure!(seq(&heard)? == "4" && accounts(&heard).is_empty(), "{heard}");
    let heard = ask(&server, &wait(&all, &last, "", ""))?;
    ensure!(seq(&heard)? == last && accounts(&heard).is_empty(), "{heard}");
    Ok(())
}

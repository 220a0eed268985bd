//! The console, in a real browser: read, driven by keys alone, wide and narrow, light and dark; and what it refuses.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fantoccini::key::Key;
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::browser::Browser;
use postbell_tests::ews::Client;
use postbell_tests::http::{Answer, Connection, basic, request};
use postbell_tests::program::{Server, Start};
use postbell_tests::swaps::guest;
use serde_json::json;

use crate::{PROGRAM, cheap_hash};

/// A tenant with the built-in plugin and alice in it, and two of a small guest whose versions can be swapped.
fn served() -> Result<Start> {
    served_with("")
}

/// As that, with this beside it.
fn served_with(further: &str) -> Result<Start> {
    let listen = "listen = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '{folder}/data'";
    let small = |name: &str| {
        format!(
            "[[tenant]]\nname = '{name}'\ndomains = ['{name}']\nplugin = '{{folder}}/first.wasm'\nadmin-key = 'of-{name}'\n"
        )
    };
    let configuration = format!(
        "[server]\n{listen}\nadmin-key = 'the-key'\n{further}\
         [[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\nhosts = ['127.0.0.1']\n{}{}",
        small("a.example"),
        small("b.example")
    );
    let users = format!("[[user]]\nname = 'alice@example.org'\npassword = '{}'\n", cheap_hash("postbell")?);
    let start = Start::configured(PROGRAM, &configuration)?.file("users.toml", &users)?;
    for version in ["first", "second", "answers"] {
        std::fs::write(start.folder().join(format!("{version}.wasm")), guest(version))?;
    }
    Ok(start)
}

fn url(server: &Server, path: &str) -> String {
    format!("http://{}{path}", server.admin)
}

/// Where pictures of the pages are left, to be looked at.
fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("console-{name}.png"))
}

async fn log_in(browser: &Browser, server: &Server) -> Result<()> {
    browser.goto(&url(server, "/console/")).await?;
    browser.until("document.activeElement.id === 'key'").await?;
    browser.press(&format!("the-key{}", char::from(Key::Enter))).await?;
    browser.until("document.querySelector('h1')?.textContent === 'Tenants'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_with_a_keyboard_watches_tenants_live() -> Result<()> {
    let server = served()?.start()?;
    let browser = Browser::start(false).await?;
    browser.goto(&url(&server, "/console/")).await?;
    browser.until("document.activeElement.id === 'key'").await?;
    browser.press(&format!("a-wrong-key{}", char::from(Key::Enter))).await?;
    browser.until("document.querySelector('[role=alert]')?.textContent.includes('no admin key')").await?;
    log_in(&browser, &server).await?;
    let names = browser.ask("return [...document.querySelectorAll('tbody th a')].map(it => it.textContent)").await?;
    ensure!(names == json!(["a.example", "b.example", "example.org"]), "{names}");

    // What happens is seen without anybody doing anything.
    let alice = Client::at(server.clients, "alice@example.org", "postbell");
    let subscription = alice.subscribe_streaming()?;
    let mut stream = alice.stream(&[&subscription])?;
    let parked = "document.getElementById('tenant example.org').closest('tr').children[3].textContent === '1'";
    browser.until(parked).await?;
    let admin = Admin::new(server.admin, "example.org", "the-key");
    for number in 0..4 {
        admin.deliver(&format!("m{number}"), number)?;
        stream.events()?;
        // The page asks again, and shows in the end how long that took.
        let fetched = "performance.getEntriesByType('resource').filter((it) => it.initiatorType === 'fetch').length";
        let before = browser.ask(&format!("return {fetched}")).await?;
        browser.until(&format!("{fetched} > {before}")).await?;
    }
    browser.until("document.querySelectorAll('svg polyline').length === 2").await?;
    browser.picture(&picture("tenants-live")).await?;

    browser.tab_to("it.id === 'search'").await?;
    browser.press(&format!("ample.o{}", char::from(Key::Enter))).await?;
    browser.until("document.querySelectorAll('tbody tr').length === 1").await?;
    browser.tab_to("it.id === 'tenant example.org'").await?;
    browser.press(&char::from(Key::Enter).to_string()).await?;
    browser.until("document.querySelector('h1')?.textContent === 'example.org'").await?;
    browser
        .until("[...document.querySelectorAll('.journal a')].some((it) => it.textContent.includes('ingest'))")
        .await?;

    // The focus stays where it is while the page changes under it.
    browser.tab_to("it.tagName === 'SUMMARY'").await?;
    browser.press(&char::from(Key::Enter).to_string()).await?;
    let last = deliver(&admin, "m9")?;
    browser.until(&format!("document.getElementById('input {last}')")).await?;
    let kept = browser
        .ask("return [document.getElementById('gauges').open, document.activeElement.tagName === 'SUMMARY']")
        .await?;
    ensure!(kept == json!([true, true]), "{kept}");

    browser.tab_to(&format!("it.id === 'input {last}'")).await?;
    browser.press(&char::from(Key::Enter).to_string()).await?;
    browser.until("document.querySelectorAll('pre').length === 2").await?;
    let shown = browser.ask("return [...document.querySelectorAll('pre')].map(it => it.textContent)").await?;
    let (given, caused) = (shown[0].as_str().unwrap_or_default(), shown[1].as_str().unwrap_or_default());
    ensure!(
        given.contains("m9") && caused.contains("\"replies\"") && caused.contains("NewMailEvent"),
        "{given}{caused}"
    );
    browser.close().await
}

/// Delivers a message to alice; the sequence of that input, which others may follow.
fn deliver(admin: &Admin, id: &str) -> Result<u64> {
    let posted = admin.post(&json!({"changes": [delivered("alice@example.org", id, 1)]}))?;
    let posted: serde_json::Value = serde_json::from_str(&posted.body)?;
    posted["sequence"].as_u64().with_context(|| format!("a sequence: {posted}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_swapped_in_compared_and_gone_back_from() -> Result<()> {
    let server = served()?.start()?;
    let browser = Browser::start(true).await?;
    log_in(&browser, &server).await?;
    browser.goto(&url(&server, "/console/tenants/a.example")).await?;
    let outcome = |text: &str| format!("document.getElementById('outcome').textContent.includes('{text}')");
    let choose =
        async |version: &str| browser.choose("#component", &server.folder().join(format!("{version}.wasm"))).await;
    choose("second").await?;
    browser.tab_to("it.textContent === 'Swap'").await?;
    browser.press(&char::from(Key::Enter).to_string()).await?;
    browser.until(&outcome("has taken over")).await?;
    browser.until("!document.querySelector('#rollback button').disabled").await?;
    browser.tab_to("it.textContent === 'Go back to the one before'").await?;
    browser.press(&char::from(Key::Enter).to_string()).await?;
    browser.until(&outcome("has taken over")).await?;

    // Differences stand side by side, and the swap is given up.
    choose("answers").await?;
    browser.ask("document.getElementById('shadow').value = 5").await?;
    browser.click("#swap button").await?;
    browser.until("document.querySelector('#steps .now')?.textContent === 'shadow'").await?;
    let login = basic("user@a.example", "unknown");
    let headers = [("Authorization", &*login), ("Content-Type", "text/plain")];
    let asked = Connection::open(server.clients)?.ask(&request("POST", "/guest", &headers, b"count"))?;
    ensure!(asked.head.status == 200, "{asked:?}");
    browser.until("document.querySelectorAll('.difference pre').length === 2").await?;
    browser.until(&outcome("it answers otherwise")).await?;
    let texts =
        browser.ask("return [...document.querySelectorAll('.difference pre')].map(it => it.textContent)").await?;
    ensure!(texts[0] != texts[1], "{texts}");
    browser.picture(&picture("swap-dark")).await?;
    // It runs what it went back to.
    browser.until("document.querySelector('[data-live=plugin] dd').textContent === 'swap-guest first'").await?;
    browser.close().await
}

/// Where keys are trusted, a component goes with its signature, and not without.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_version_is_swapped_in() -> Result<()> {
    let keys = minisign::KeyPair::generate_unencrypted_keypair()?;
    let start = served_with(&format!("[plugins]\ntrusted-keys = ['{}']\n", keys.pk.to_base64()))?;
    for version in ["first", "second"] {
        let signature = minisign::sign(Some(&keys.pk), &keys.sk, &guest(version)[..], None, None)?;
        std::fs::write(start.folder().join(format!("{version}.wasm.minisig")), signature.to_string())?;
    }
    let server = start.start()?;
    let browser = Browser::start(true).await?;
    log_in(&browser, &server).await?;
    browser.goto(&url(&server, "/console/tenants/a.example")).await?;
    let outcome = |text: &str| format!("document.getElementById('outcome').textContent.includes('{text}')");
    let choose = async |field: &str, file: &str| browser.choose(field, &server.folder().join(file)).await;
    choose("#component", "second.wasm").await?;
    browser.click("#swap button").await?;
    browser.until(&outcome("it has no signature")).await?;
    choose("#signature", "second.wasm.minisig").await?;
    browser.until("!document.querySelector('#swap button').disabled").await?;
    browser.click("#swap button").await?;
    browser.until(&outcome("has taken over")).await?;
    browser.until("document.querySelector('[data-live=plugin] dd').textContent === 'swap-guest second'").await?;
    browser.close().await
}

/// What is on a page fits on it, and can be read.
#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_wide_and_narrow_windows_light_and_dark() -> Result<()> {
    let server = served()?.start()?;
    let last = deliver(&Admin::new(server.admin, "example.org", "the-key"), "m1")?;
    let pages = [
        ("tenants", "/console/".to_owned()),
        ("tenant", "/console/tenants/example.org".to_owned()),
        ("input", format!("/console/tenants/example.org/journal/{last}")),
    ];
    for (scheme, dark) in [("light", false), ("dark", true)] {
        let browser = Browser::start(dark).await?;
        browser.goto(&url(&server, "/console/login")).await?;
        browser.picture(&picture(&format!("login-{scheme}"))).await?;
        readable(&browser).await.context("login")?;
        log_in(&browser, &server).await?;
        for (width, (name, path)) in
            [1280, 500].into_iter().flat_map(|width| pages.iter().map(move |page| (width, page)))
        {
            browser.resize(width, 900).await?;
            browser.goto(&url(&server, path)).await?;
            browser.picture(&picture(&format!("{name}-{width}-{scheme}"))).await?;
            let over = browser.ask("return document.documentElement.scrollWidth - innerWidth").await?;
            ensure!(over.as_i64().is_some_and(|over| over <= 0), "{name} is {over} too wide for {width}");
            readable(&browser).await.with_context(|| format!("{name}, {width}, {scheme}"))?;
        }
        browser.close().await?;
    }
    Ok(())
}

/// Every text has the contrast that WCAG 2.1 asks for (1.4.3: 4.5 to 1), every field a label, every button a name.
async fn readable(browser: &Browser) -> Result<()> {
    let found = browser
        .ask(
            "const channel = (value) => { value /= 255; return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4 };
             const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
             const parts = (color) => color.match(/[\\d.]+/g).map(Number);
             const behind = (it) => { for (; it; it = it.parentElement) {
                 const color = parts(getComputedStyle(it).backgroundColor);
                 if (color.length < 4 || color[3] > 0) return color; } return [255, 255, 255]; };
             const poor = [];
             for (const it of document.querySelectorAll('body *')) {
                 const own = [...it.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
                 if (!own || !it.checkVisibility() || it.disabled || it.closest('svg')) continue;
                 const [one, other] = [light(parts(getComputedStyle(it).color)), light(behind(it))];
                 const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
                 if (contrast < 4.5) poor.push(`${it.tagName} ${it.textContent.slice(0, 20)}: ${contrast.toFixed(1)}`);
             }
             for (const it of document.querySelectorAll('input, select')) if (!it.labels.length) poor.push(`no label: ${it.id}`);
             for (const it of document.querySelectorAll('button, a')) if (!it.textContent.trim()) poor.push('no name');
             return poor;",
        )
        .await?;
    ensure!(found == json!([]), "{found}");
    Ok(())
}

fn get(server: &Server, path: &str, cookie: &str) -> Result<Answer> {
    ask(server, "GET", path, cookie, b"")
}

fn ask(server: &Server, method: &str, path: &str, cookie: &str, body: &[u8]) -> Result<Answer> {
    Connection::open(server.admin)?.ask(&request(method, path, &[("Cookie", cookie)], body))
}

#[test]
fn a_session_may_what_its_key_may_and_as_long_as_it_may() -> Result<()> {
    let server = served()?.start()?;
    for path in ["/console/", "/console/tenants/a.example", "/console/tenants/a.example/journal/1"] {
        let answer = get(&server, path, "postbell-console=00000000000000000000000000000000")?;
        ensure!(answer.head.status == 303 && answer.head.header("location") == Some("/console/login"), "{answer:?}");
    }
    let log_in =
        |key: &str| -> Result<Answer> { ask(&server, "POST", "/console/login", "", format!("key={key}").as_bytes()) };
    let refused = log_in("of-c.example")?;
    ensure!(refused.head.status == 401 && refused.head.header("set-cookie").is_none(), "{refused:?}");
    ensure!(refused.head.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    let granted = log_in("of-a.example")?;
    let cookie = granted.head.header("set-cookie").context("a cookie")?.to_owned();
    ensure!(
        granted.head.status == 303 && cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains("of-a"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().context("a value")?.to_owned();

    let overview = get(&server, "/console/", &cookie)?.body;
    ensure!(overview.contains("a.example") && !overview.contains("b.example"), "only its own: {overview}");
    ensure!(get(&server, "/console/tenants/a.example", &cookie)?.head.status == 200);
    for other in ["/console/tenants/b.example", "/console/tenants/none", "/console/tenants/b.example/journal/1"] {
        ensure!(get(&server, other, &cookie)?.head.status == 404, "{other}");
    }
    let swap = |tenant: &str| -> Result<Answer> {
        let path = format!("/console/tenants/{tenant}/plugin");
        ask(&server, "PUT", &path, &cookie, &guest("second"))
    };
    ensure!(swap("b.example")?.head.status == 401);
    ensure!(swap("a.example")?.body.contains("\"done\""));
    let odd = get(&server, "/console/?search=%3Cscript%3E&after=999", &cookie)?;
    ensure!(odd.head.status == 200 && !odd.body.contains("<script>"));

    ask(&server, "POST", "/console/logout", &cookie, b"")?;
    ensure!(get(&server, "/console/", &cookie)?.head.status == 303, "it has logged out");
    server.stop().map(drop)
}

//! A real browser: Chromium, headless, driven over WebDriver. Ends with this.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::wd::{Capabilities, TimeoutConfiguration};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::program::Process;

/// A session of a browser's own.
pub struct Browser {
    client: Client,
    driver: Process,
}

/// What the browser says; an error if it does not say anything.
async fn said<T, E: Error + Send + Sync + 'static>(saying: impl Future<Output = Result<T, E>>) -> Result<T> {
    Ok(timeout(PATIENCE, saying).await.context("the browser says nothing")??)
}

impl Browser {
    /// Starts one that prefers light or dark pages.
    pub async fn start(dark: bool) -> Result<Browser> {
        let mut command = Command::new("chromedriver");
        let spawned = Process::spawn(command.arg("--port=0").stdin(Stdio::null()));
        let mut driver = spawned.context("Debian's chromium-driver is needed: run `make setup`")?;
        let port = loop {
            let line = driver.line()?.context("the driver ended")?;
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse::<u16>()?;
            }
        };
        let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            // It asks for nothing but the pages.
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &scheme,
        ];
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".into(), json!({ "args": arguments }));
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let client = said(builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}"))).await?;
        let patience = TimeoutConfiguration::new(Some(PATIENCE), Some(PATIENCE), None);
        said(client.update_timeouts(patience)).await?;
        let browser = Browser { client, driver };
        let prefers = browser.ask("return matchMedia('(prefers-color-scheme: dark)').matches").await?;
        ensure!(prefers == json!(dark), "it prefers the other");
        Ok(browser)
    }

    /// Opens a page.
    pub async fn goto(&self, url: &str) -> Result<()> {
        said(self.client.goto(url)).await
    }

    /// Makes the window so large, in points.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        said(self.client.set_window_size(width, height)).await
    }

    /// Clicks on what a selector of CSS finds.
    pub async fn click(&self, selector: &str) -> Result<()> {
        said(self.find(selector).await?.click()).await
    }

    /// Chooses a file in the field that a selector of CSS finds.
    pub async fn choose(&self, selector: &str, file: &Path) -> Result<()> {
        said(self.find(selector).await?.send_keys(file.to_str().context("a path in UTF-8")?)).await
    }

    async fn find(&self, selector: &str) -> Result<Element> {
        said(self.client.find(Locator::Css(selector))).await
    }

    /// What a script in the page gives.
    pub async fn ask(&self, script: &str) -> Result<Value> {
        said(self.client.execute(script, vec![])).await
    }

    /// Waits until an expression in the page is true.
    pub async fn until(&self, expression: &str) -> Result<()> {
        let script = format!("return Boolean({expression})");
        let comes_true = async {
            // A page that loads meanwhile answers with an error, or not as it will once it is there.
            while !matches!(self.client.execute(&script, vec![]).await, Ok(Value::Bool(true))) {
                tokio::task::yield_now().await;
            }
        };
        if timeout(PATIENCE, comes_true).await.is_ok() {
            return Ok(());
        }
        let text = self.ask("return document.body.innerText").await.unwrap_or_default();
        bail!("{expression} does not come true\n{text}")
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) -> Result<()> {
        let typed = keys.chars().flat_map(|value| [KeyAction::Down { value }, KeyAction::Up { value }]);
        let typed = typed.fold(KeyActions::new("keyboard".into()), KeyActions::then);
        said(self.client.perform_actions(typed)).await
    }

    /// Goes on with the tabulator until the focus is on what an expression of `it` accepts; with nothing else, as somebody
    /// without a mouse does.
    pub async fn tab_to(&self, expression: &str) -> Result<()> {
        let mut passed = BTreeSet::new();
        loop {
            let script = format!(
                "const it = document.activeElement; return [({expression}) === true, it.outerHTML.slice(0, 200)]"
            );
            let found = self.ask(&script).await?;
            if found[0] == json!(true) {
                return Ok(());
            }
            let there = found[1].to_string();
            ensure!(passed.len() < 200, "the focus never comes to {expression}; it was on {passed:#?}");
            passed.insert(format!("{} {there}", passed.len()));
            self.press(&char::from(Key::Tab).to_string()).await?;
        }
    }

    /// Writes what is seen to a file, as PNG.
    pub async fn picture(&self, file: &Path) -> Result<()> {
        std::fs::write(file, said(self.client.screenshot()).await?).with_context(|| file.display().to_string())
    }

    /// Ends it in good order.
    pub async fn close(self) -> Result<()> {
        said(self.client.close()).await?;
        self.driver.kill();
        Ok(())
    }
}

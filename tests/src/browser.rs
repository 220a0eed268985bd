//! A real browser: Chromium, headless, driven over WebDriver. Ends with this.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::wd::{Capabilities, TimeoutConfiguration};
use fantoccini::{Client, ClientBuilder};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::program::Process;

/// A session of a browser's own.
pub struct Browser {
    /// What drives it.
    pub client: Client,
    driver: Process,
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
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", &scheme];
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".into(), json!({ "args": arguments }));
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let client = builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await?;
        let patience = TimeoutConfiguration::new(Some(PATIENCE), Some(PATIENCE), None);
        client.update_timeouts(patience).await?;
        let browser = Browser { client, driver };
        let prefers = browser.ask("return matchMedia('(prefers-color-scheme: dark)').matches").await?;
        ensure!(prefers == json!(dark), "it prefers the other");
        Ok(browser)
    }

    /// What a script in the page gives.
    pub async fn ask(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, vec![]).await?)
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
        if tokio::time::timeout(PATIENCE, comes_true).await.is_ok() {
            return Ok(());
        }
        let text = self.ask("return document.body.innerText").await.unwrap_or_default();
        bail!("{expression} does not come true\n{text}")
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) -> Result<()> {
        let typed = keys.chars().flat_map(|value| [KeyAction::Down { value }, KeyAction::Up { value }]);
        let typed = typed.fold(KeyActions::new("keyboard".into()), KeyActions::then);
        Ok(self.client.perform_actions(typed).await?)
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
        std::fs::write(file, self.client.screenshot().await?).with_context(|| file.display().to_string())
    }

    /// Ends it in good order.
    pub async fn close(self) -> Result<()> {
        self.client.close().await?;
        self.driver.kill();
        Ok(())
    }
}

//! The pages, as HTML. What is in them from outside is escaped by the template language, everywhere.

use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use super::samples::{Rates, Waited};
use super::{OF_A_PAGE, plot};
use crate::admin::cluster::NodeListing;
use crate::admin::plugins::TenantListing;
use crate::program::shown;

/// How many digits of a component's SHA-256 are shown.
const DIGITS: usize = 12;

/// A tenant in the list.
pub(super) struct Row {
    pub runs: TenantListing,
    pub parked: u64,
    pub asleep: bool,
    /// All faults since the server's start.
    pub faults: u64,
    pub rates: Option<Rates>,
}

/// Which tenants are listed.
pub(super) struct Selection {
    /// What their names must contain.
    pub search: String,
    /// How many of them come before those that are shown.
    pub after: usize,
    /// How many there are.
    pub all: usize,
}

/// One tenant.
pub(super) struct Detail {
    pub row: Row,
    pub sequence: u64,
    pub snapshot: u64,
    pub uncommitted: u64,
    pub memory: u64,
    pub faults: Vec<(String, u64)>,
    pub refusals: Vec<(String, u64)>,
    pub gauges: Vec<(String, f64)>,
}

/// An input, in a line.
pub(super) struct Entry {
    pub sequence: u64,
    pub line: String,
}

fn page(title: &str, within: Option<&str>, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Postbell" }
                link rel="stylesheet" href="/console/style.css";
                script src="/console/console.js" defer {}
            }
            body {
                a.skip href="#content" { "To the content" }
                header {
                    a.home href="/console/" { "Postbell" }
                    @if let Some(within) = within { span.within { (within) } }
                    @if within.is_some() {
                        label.pause { input type="checkbox" id="pause"; " Hold still" }
                        form method="post" action="/console/logout" { button { "Log out" } }
                    }
                }
                main id="content" tabindex="-1" { (content) }
            }
        }
    }
}

/// Where a key is asked for.
pub(super) fn login(failed: bool) -> Markup {
    page(
        "Log in",
        None,
        html! {
            form.login method="post" action="/console/login" {
                h1 { "Log in" }
                @if failed { p.wrong role="alert" { "That is no admin key of this server or of a tenant." } }
                label for="key" { "Admin key of the server, or of a tenant" }
                input type="password" id="key" name="key" autocomplete="current-password" required autofocus;
                button { "Log in" }
            }
        },
    )
}

/// Something is not there, or does not work.
pub(super) fn problem(title: &str, why: &str) -> Markup {
    page(title, Some(title), html! { h1 { (title) } p role="alert" { (why) } })
}

/// Every tenant that may be seen; `nodes`: those that share them, if there are several.
pub(super) fn overview(rows: &[Row], selection: &Selection, waited: &[Waited], nodes: &[NodeListing]) -> Markup {
    let Selection { search, after, all } = selection;
    page(
        "Tenants",
        Some("Tenants"),
        html! {
            h1 { "Tenants" }
            section data-live="waiting" {
                h2 { "From a change to the client that waited for it" }
                (plot::waited(waited))
            }
            @if !nodes.is_empty() { section data-live="nodes" { h2 { "Nodes" } (node_table(nodes)) } }
            form.search role="search" {
                label for="search" { "Name contains" }
                input type="search" id="search" name="search" value=(search);
                button { "Search" }
            }
            div data-live="tenants" {
                p { (all) " " @if *all == 1 { "tenant" } @else { "tenants" }
                    @if *all > rows.len() { ", " (after + 1) " to " (after + rows.len()) } }
                table {
                    thead { tr {
                        th scope="col" { "Tenant" } th scope="col" { "Plugin" } th scope="col" { "State" }
                        th.number scope="col" { "Parked" } th.number scope="col" { "Batches/s" }
                        th.number scope="col" { "Requests/s" } th.number scope="col" { "Faults" }
                    } }
                    tbody { @for row in rows { (tenant_row(row)) } }
                }
                nav aria-label="Pages" {
                    @if *after > 0 { a href=(query(search, after.saturating_sub(OF_A_PAGE))) { "Before" } }
                    @if after + rows.len() < *all { a href=(query(search, after + OF_A_PAGE)) { "After" } }
                }
            }
        },
    )
}

fn query(search: &str, after: usize) -> String {
    let pairs = form_urlencoded::Serializer::new(String::new())
        .append_pair("search", search)
        .append_pair("after", &after.to_string())
        .finish();
    format!("?{pairs}")
}

fn node_table(nodes: &[NodeListing]) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" { "Node" } th scope="col" { "State" } th.number scope="col" { "Tenants" }
                th.number scope="col" { "Inputs uncommitted" } th.number scope="col" { "Moves" }
            } }
            tbody { @for node in nodes {
                tr {
                    th scope="row" data-label="Node" { (node.node) }
                    td data-label="State" { @if node.draining { "draining" } @else { "serves" } }
                    td.number data-label="Tenants" { (node.tenants) }
                    td.number data-label="Inputs uncommitted" { (node.uncommitted) }
                    td.number data-label="Moves" { (node.moves) }
                }
            } }
        }
    }
}

fn tenant_row(row: &Row) -> Markup {
    let runs = &row.runs;
    html! {
        tr {
            th scope="row" data-label="Tenant" { a id=(format!("tenant {}", runs.tenant)) href=(path(&runs.tenant, "")) { (runs.tenant) } }
            td data-label="Plugin" { span { (runs.plugin) " " (runs.version) " " code { (runs.sha256[..DIGITS]) } } }
            td data-label="State" { (state(row)) }
            td.number data-label="Parked" { (row.parked) }
            td.number data-label="Batches/s" { (rate(row.rates.map(|it| it.batches))) }
            td.number data-label="Requests/s" { (rate(row.rates.map(|it| it.requests))) }
            td.number.wrong[row.faults > 0] data-label="Faults" { (row.faults) }
        }
    }
}

fn state(row: &Row) -> &'static str {
    match (row.asleep, row.runs.back) {
        (true, _) => "asleep",
        (false, true) => "awake, gone back",
        (false, false) => "awake",
    }
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}"))
}

/// One tenant, with the end of its journal.
pub(super) fn tenant(detail: &Detail, tail: &[Entry]) -> Markup {
    let runs = &detail.row.runs;
    let name = &*runs.tenant;
    page(
        name,
        Some(name),
        html! {
            h1 { (name) }
            div.columns {
                section data-live="figures" { h2 { "Now" } (figures(detail)) }
                section data-tenant=(name) {
                    h2 { "Plugin" }
                    dl data-live="plugin" {
                        dt { "Runs" } dd { (runs.plugin) " " (runs.version) }
                        dt { "SHA-256" } dd { code.long { (runs.sha256) } }
                        dt { "Since" } dd { @if runs.since == 0 { "the beginning" } @else { (shown::moment(runs.since)) } }
                        dt { "Before" } dd { @match &runs.previous { Some(id) => code.long { (id) }, None => "nothing" } }
                        dt { "Faults since" } dd { (runs.faults) }
                    }
                    (swap(name, runs.previous.is_some()))
                }
            }
            section.progress id="progress" aria-live="polite" hidden {
                h2 { "Swap" }
                ol id="steps" {}
                p id="outcome" {}
                div id="differences" {}
            }
            section data-live="journal" {
                h2 { "The end of the journal" }
                @if tail.is_empty() { p.empty { "Nothing is in it." } }
                ol.journal { @for Entry { sequence, line } in tail {
                    li { a id=(format!("input {sequence}")) href=(path(name, &format!("/journal/{sequence}"))) { (line) } }
                } }
            }
        },
    )
}

fn figures(detail: &Detail) -> Markup {
    let Detail { row, sequence, snapshot, uncommitted, memory, faults, refusals, gauges } = detail;
    html! {
        dl {
            dt { "State" } dd { (state(row)) }
            dt { "Parked requests" } dd { (row.parked) }
            dt { "Batches, requests a second" }
            dd { (rate(row.rates.map(|it| it.batches))) ", " (rate(row.rates.map(|it| it.requests))) }
            dt { "Inputs in the journal" } dd { (sequence) " (" (uncommitted) " wait for it)" }
            dt { "Newest snapshot" } dd { @if *snapshot == 0 { "none since the start" } @else { "at " (snapshot) } }
            dt { "Memory" } dd { (format!("{:.1} MiB", *memory as f64 / 1_048_576.0)) }
            @for (reason, count) in faults { dt { "Faults: " (reason) } dd.wrong { (count) } }
            @for (limit, count) in refusals { dt { "Refused by " code { (limit) } } dd { (count) } }
        }
        @if !gauges.is_empty() {
            details id="gauges" { summary id="gauges-summary" { "What the plugin says of itself" }
                dl { @for (name, value) in gauges { dt { (name) } dd { (value) } } }
            }
        }
    }
}

fn swap(name: &str, previous: bool) -> Markup {
    html! {
        form.swap id="swap" action=(path(name, "/plugin")) {
            label for="component" { "Another version" }
            input type="file" id="component" accept=".wasm" required;
            label for="signature" { "Its signature, if keys are trusted" }
            input type="file" id="signature" accept=".minisig";
            label for="shadow" { "Compare for so many inputs first" }
            input type="number" id="shadow" min="0" value="0";
            label for="on-difference" { "Where they differ" }
            select id="on-difference" {
                option value="refuse" { "give up" }
                option value="report" { "say so and go on" }
            }
            button { "Swap" }
        }
        form id="rollback" action=(path(name, "/rollback")) {
            button disabled[!previous] { "Go back to the one before" }
        }
        noscript { p { "Swaps need JavaScript here; " code { "postbell swap" } " does not." } }
    }
}

/// An input, and what the plugin makes of it.
pub(super) fn input(tenant: &str, sequence: u64, given: &Value, caused: &Result<Value, String>) -> Markup {
    let title = format!("Input {sequence} of {tenant}");
    page(
        &title,
        Some(tenant),
        html! {
            h1 { "Input " (sequence) }
            p { a href=(path(tenant, "")) { "To " (tenant) } }
            div.columns {
                section { h2 { "Given" } pre tabindex="0" { (pretty(given)) } }
                section { h2 { "Caused" }
                    @match caused {
                        Ok(reaction) => pre tabindex="0" { (pretty(reaction)) },
                        Err(why) => p.empty { (why) },
                    }
                }
            }
        },
    )
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON can be written")
}

fn path(tenant: &str, rest: &str) -> String {
    let name = percent_encoding::utf8_percent_encode(tenant, percent_encoding::NON_ALPHANUMERIC);
    format!("/console/tenants/{name}{rest}")
}

/// A time in the unit that suits it.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        short if short < 1e-3 => format!("{:.0} µs", short * 1e6),
        medium if medium < 1.0 => format!("{:.1} ms", medium * 1e3),
        long => format!("{long:.1} s"),
    }
}

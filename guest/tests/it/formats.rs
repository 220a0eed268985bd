//! Snapshots that earlier versions saved.

use postbell_notify::contract::*;
use postbell_notify::{Notify, describe};

use crate::world::{START, World, delivered, events, get_events, said};

const PULL: &str = "jGdiBgQ9e6MwKd1-u4408A";
const WATERMARK: &str = "AAAAAAAAAAEAAAAAB4bfVBgW36yN";

/// As it was saved by the version that wrote `postbell-notify/1`: alice, a pull subscription that has not asked yet,
/// one on a stream, nine to her drafts whose queue of seven overflowed.
fn first() -> World {
    let mut notify = Notify::default();
    notify.load("postbell-notify/1", include_bytes!("../samples/first.snapshot"), false).expect("it is still read");
    World { notify, now: START, sequence: 26, requests: 12, standing: Standing::Forbidden }
}

#[test]
fn what_the_first_format_holds_goes_on() {
    let mut world = first();
    let pending = Pending { requests: vec![3], calls: vec![], wake_at: Some(START + 25_000) };
    assert_eq!(world.notify.outstanding(), pending);
    assert_eq!(world.gauge("subscriptions", "pull"), 10.0);
    // The queue of everything has overflowed too: the settings are the saved ones.
    let body = world.post(&get_events(PULL, WATERMARK)).body();
    assert!(body.contains("ErrorInvalidWatermark"), "{body}");
    let (id, watermark) = world.pull();
    let streamed = said(&world.happens(delivered("inbox", "new")));
    assert!(streamed.iter().any(|part| part.starts_with("r3 ") && part.contains("NewMail new@inbox")), "{streamed:?}");
    let heard = events(&world.post(&get_events(&id, &watermark)).body());
    assert_eq!(heard, ["Created new@inbox", "NewMail new@inbox", "Modified inbox@root"]);
}

#[test]
fn what_was_loaded_is_saved_in_the_format_of_now() {
    let mut world = first();
    let saved = world.saved();
    let now = &describe().state_formats[0];
    assert!(saved[0].starts_with(now.as_bytes()));
    let mut again = Notify::default();
    for (number, part) in saved.iter().enumerate() {
        again.load(now, part, number + 1 < saved.len()).expect("what was saved");
    }
    let mut twin = World { notify: again, now: START, sequence: 26, requests: 12, standing: Standing::Forbidden };
    for world in [&mut world, &mut twin] {
        world.happens(delivered("drafts", "new"));
        world.wait(60_000);
    }
    assert_eq!(world.saved(), twin.saved());
    let mut cut = Notify::default();
    let bytes = include_bytes!("../samples/first.snapshot");
    assert!(cut.load("postbell-notify/1", &bytes[..bytes.len() - 1], false).is_err());
    assert!(Notify::default().load("postbell-notify/2", bytes, false).is_err(), "it is not of that format");
}

//! Folders that every mailbox has, before a source has spoken of them.

use postbell_notify::contract::*;

use crate::world::{
    World, account, change, code, delivered, element, envelope, events, folder, folder_ids, get_events, item, named,
    subscribe_pull, text,
};

fn get_folder(folder: &str) -> String {
    let folders = folder_ids(folder).replace("t:FolderIds", "m:FolderIds");
    envelope(&format!(
        "<m:GetFolder><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>{folders}</m:GetFolder>"
    ))
}

/// The id in an answer to GetFolder.
fn id(world: &mut World, folder: &str) -> String {
    let answer = world.post(&get_folder(folder)).body();
    let document = roxmltree::Document::parse(&answer).expect("answers are well-formed");
    let node = document.descendants().find(|node| node.tag_name().name() == "FolderId");
    node.and_then(|node| node.attribute("Id")).unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn by_id(id: &str) -> String {
    format!(r#"<t:FolderId Id="{id}"/>"#)
}

#[test]
fn a_mailbox_that_nobody_has_heard_of_has_what_every_mailbox_has() {
    let mut world = World::empty(&[]);
    for name in ["inbox", "calendar", "sentitems", "recoverableitemsdeletions", "root"] {
        let found = world.post(&get_folder(&named(name)));
        assert_eq!((code(&found.body()), found.reaction.changed), ("NoError".into(), false), "{name}");
        let own = id(&mut world, &named(name));
        assert_eq!(code(&world.post(&get_folder(&by_id(&own))).body()), "NoError", "{name}");
    }
    for name in ["voicemail", "archiveinbox"] {
        assert_eq!(code(&world.post(&get_folder(&named(name))).body()), "ErrorFolderNotFound");
        assert_eq!(code(&world.post(&subscribe_pull(&named(name), 10)).body()), "ErrorFolderNotFound");
    }
    let own = id(&mut world, &named("inbox"));
    let answer = world.post(&subscribe_pull(&[by_id(&own), named("drafts")].concat(), 10)).body();
    let (subscription, watermark) = (element(&answer, "SubscriptionId"), element(&answer, "Watermark"));
    world.happens(delivered("inbox", "m1"));
    world.happens(delivered("sentitems", "m2"));
    world.happens(Happening::ItemCreated(item("drafts", "m3")));
    let heard = events(&world.post(&get_events(&subscription, &watermark)).body());
    assert_eq!(
        heard,
        ["Created m1@inbox", "NewMail m1@inbox", "Modified inbox@root", "Created m3@drafts", "Modified drafts@root"]
    );
    assert_eq!(id(&mut world, &named("inbox")), own, "the id is the one that it had");
}

/// A source opens a mailbox under the account's name, which need not be its id: what a client is given is good all the same.
#[test]
fn a_folders_id_is_its_accounts_and_not_its_names() {
    let mut world = World::new();
    let alice = Account { id: "4711".into(), ..account("alice@example.org") };
    let mut ask = |body: &str| {
        let mut request = world.request("alice@example.org", body);
        let Access::Granted(grant) = &mut request.access else { panic!("alice has logged in") };
        grant.account = alice.clone();
        request.accounts.fill(Resolution { account: Some(alice.clone()), standing: Standing::Itself });
        let at = world.at();
        text(&world.notify.answer(at, &request).replies[0])
    };
    let attribute = |answer: &str, element: &str| {
        let document = roxmltree::Document::parse(answer).expect("answers are well-formed");
        let node = document.descendants().find(|node| node.tag_name().name() == element);
        node.and_then(|node| node.attribute("Id")).unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let [inbox, tasks] = ["inbox", "tasks"].map(|name| attribute(&ask(&get_folder(&named(name))), "FolderId"));
    let subscribed = ask(&subscribe_pull(&[by_id(&inbox), by_id(&tasks)].concat(), 10));
    assert_eq!(code(&subscribed), "NoError");
    assert_eq!(attribute(&ask(&get_folder(&by_id(&inbox))), "FolderId"), inbox);
    let (id, watermark) = (element(&subscribed, "SubscriptionId"), element(&subscribed, "Watermark"));
    world.happens(delivered("inbox", "m1"));
    let mut request = world.request("alice@example.org", &get_events(&id, &watermark));
    let Access::Granted(grant) = &mut request.access else { panic!("alice has logged in") };
    grant.account = alice;
    let at = world.at();
    let heard = text(&world.notify.answer(at, &request).replies[0]);
    assert_eq!(attribute(&heard, "ParentFolderId"), inbox);
}

/// Each way in which a source may come to speak of its own inbox, which has another id.
#[test]
fn who_subscribed_before_hears_of_the_folder_that_the_source_has() {
    let own = || Folder { role: "inbox".into(), ..folder("F7") };
    let ways: [(Vec<Happening>, &str); 4] = [
        (vec![Happening::Baseline(vec![own()])], "F7"),
        (vec![Happening::FolderCreated(own())], "F7"),
        (
            vec![
                delivered("F7", "m0"),
                Happening::FolderModified(FolderAlteration { folder: own(), ..FolderAlteration::default() }),
            ],
            "F7",
        ),
        (vec![delivered("INBOX", "m0")], "INBOX"),
    ];
    for (way, source) in ways {
        let mut world = World::empty(&[]);
        let answer = world.post(&subscribe_pull(&named("inbox"), 10)).body();
        let (subscription, before) = (element(&answer, "SubscriptionId"), id(&mut world, &named("inbox")));
        let now = world.now;
        world.changes("alice@example.org", way.into_iter().map(|what| change(now, what)).collect());
        world.happens(delivered(source, "m1"));
        world.happens(delivered("elsewhere", "m2"));
        let heard = events(&world.post(&get_events(&subscription, &element(&answer, "Watermark"))).body());
        let expected = format!("NewMail m1@{source}");
        assert!(heard.contains(&expected) && !heard.iter().any(|event| event.contains("m2")), "{heard:?}");
        let now = id(&mut world, &named("inbox"));
        assert_ne!(now, before);
        assert_eq!(id(&mut world, &by_id(&before)), now, "the id of before leads to it");
        let saved = world.saved();
        let mut loaded = postbell_notify::Notify::default();
        for (number, part) in saved.iter().enumerate() {
            let format = &postbell_notify::describe().state_formats[0];
            loaded.load(format, part, number + 1 < saved.len()).expect("what was saved");
        }
        world.notify = loaded;
        assert_eq!(world.saved(), saved);
    }
}

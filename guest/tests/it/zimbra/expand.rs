//! Pending modifications.

use super::*;
use crate::world::folder;

fn interested(world: &mut World) -> String {
    world.happens(Happening::Baseline(vec![Folder { role: "inbox".into(), ..folder("inbox") }, folder("other")]));
    create(world, ROOT, "all", "<add><a id='alice@example.org' folderInterests='2,257'/></add>")
}

fn expanded(world: &mut World, set: &str, seq: &str) -> String {
    inside(&send(world, ROOT, &soap(&wait_operation(set, seq, "expand=\"1\"", ""))).body())
}

fn message(folder: &str, number: u64) -> Item {
    Item { number: Some(number), imap_uid: Some(9), ..of_kind("message", folder, "m") }
}

#[test]
fn modifications_are_told_by_folder_and_joined() {
    let mut world = World::empty(&[]);
    let set = interested(&mut world);
    world.happens(Happening::MessageDelivered(message("inbox", 301)));
    let read = Item { flags: 1, tags: vec!["one".into(), "two".into()], ..message("inbox", 302) };
    let altered = ItemAlteration { item: read, flags_before: Some(0), tags_before: Some(vec![]), fields: vec![] };
    world.happens(Happening::ItemModified(altered));
    world.happens(Happening::ItemMoved(ItemRelocation { before: message("inbox", 303), after: message("other", 304) }));
    world.happens(Happening::TagModified(Tag { id: "71".into(), name: "Work".into() }));
    let answer = expanded(&mut world, &set, "0");
    expect_test::expect![[r#"<WaitSetResponse xmlns="urn:zimbraMail" waitSet="ID" seq="2"><a id="alice@example.org" changeid="5"><mods xmlns="urn:zimbra" id="2"><created xmlns="urn:zimbraMail"><m id="301" i4uid="9" t="MESSAGE" f="512"/></created><deleted xmlns="urn:zimbraMail" id="303" t="message"/><modMsgs xmlns="urn:zimbraMail" change="3"><m id="302" i4uid="9" t="MESSAGE" f="0" tn="one,two"/></modMsgs><modTags xmlns="urn:zimbraMail" change="4096"><id>71</id><name>Work</name></modTags></mods><mods xmlns="urn:zimbra" id="257"><created xmlns="urn:zimbraMail"><m id="304" i4uid="9" t="MESSAGE" f="512"/></created><modTags xmlns="urn:zimbraMail" change="4096"><id>71</id><name>Work</name></modTags></mods></a></WaitSetResponse>"#]].assert_eq(&answer.replace(&set, "ID"));
    // Not acknowledged: the same again, joined with what came since.
    world.happens(Happening::ItemDeleted(message("inbox", 302)));
    let again = expanded(&mut world, &set, "0");
    assert!(again.contains(r#"id="302" t="message"/>"#) && again.contains(r#"<m id="301""#), "{again}");
    assert!(!again.contains("modMsgs"), "{again}");
    // Without `expand`, or without folders, there are none.
    world.happens(Happening::MessageDelivered(message("inbox", 305)));
    assert_eq!(poll(&mut world, ROOT, &set, "0", ""), "seq=4 alice");
    let plain = create(&mut world, ROOT, "all", &add(&[ALICE]));
    world.happens(Happening::MessageDelivered(message("inbox", 306)));
    assert!(!expanded(&mut world, &plain, "0").contains("mods"));
}

#[test]
fn an_account_is_told_though_there_is_nothing_to_say_of_its_folders() {
    let mut world = World::empty(&[]);
    let set = interested(&mut world);
    world.happens(Happening::Gap);
    assert!(expanded(&mut world, &set, "0").contains(r#"<a id="alice@example.org" changeid="2"/>"#));
}

#[test]
fn json_tells_them_in_lists() {
    let mut world = World::empty(&[]);
    let set = interested(&mut world);
    world.happens(Happening::MessageDelivered(message("inbox", 301)));
    let body = format!(
        r#"{{"Body":{{"WaitSetRequest":{{"_jsns":"urn:zimbraMail","waitSet":"{set}","seq":"0","expand":true}}}}}}"#
    );
    let answer = send(&mut world, ROOT, &body).body();
    let mods = r#""mods":[{"id":2,"created":[{"m":[{"id":301,"i4uid":9,"t":"MESSAGE","f":512}],"_jsns":"urn:zimbraMail"}],"_jsns":"urn:zimbra"}]"#;
    assert!(answer.contains(mods), "{answer}");
}

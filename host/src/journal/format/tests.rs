use std::fmt::Write;

use ciborium::cbor;
use proptest::prelude::*;

use super::*;
use crate::contract::changes::{Batch, BookChange};
use crate::contract::lifecycle::Restart;
use crate::contract::outbound::{Outcome, Response};
use crate::contract::requests::{Access, Denial, End, Request, RequestHead, Resolution, Settlement, Standing};
use crate::journal::{Base, ComponentId, Former, Instead, Skipped, Snapshot, SourceSpan, Swapped, Tenure};

fn record(input: Input) -> Record {
    Record {
        sequence: 3,
        now: 1_795_296_510_624,
        digest: Digest { component: 0x0102, reaction: u64::MAX },
        input: input.into(),
    }
}

fn batch() -> Batch {
    Batch { accounts: vec![], book: vec![BookChange::Gap] }
}

fn request() -> Request {
    Request {
        id: 5,
        head: RequestHead {
            method: "POST".into(),
            path: "/EWS".into(),
            query: String::new(),
            content_type: "text/xml".into(),
            headers: vec![("a".into(), "b".into())],
            secure: true,
        },
        body: b"<x/>".to_vec(),
        access: Access::Denied(Denial::Missing),
        act_as: Some(Resolution { account: None, standing: Standing::Unknown }),
        accounts: vec![],
    }
}

/// One of each kind, with everything that there can be.
fn inputs() -> Vec<Input> {
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let span = SourceSpan { source: "imap-1".into(), offset: 7, length: 2 };
    let skipped = Skipped { batch: batch(), reason: "it trapped".into() };
    vec![
        Input::Open { seed: vec![1, 2, 255], settings: settings.clone() },
        Input::Configure { settings },
        Input::Tick,
        Input::Restarted(Restart { down_ms: 9, regressed: true }),
        Input::Drain,
        Input::Ingest { batch: batch(), span: None, skipped: None },
        Input::Ingest { batch: batch(), span: Some(span), skipped: Some(Box::new(skipped)) },
        Input::Answer(Box::new(request())),
        Input::Settled(vec![Settlement { request: 5, parts: 1, end: Some(End::Gone) }]),
        Input::Finished { call: 2, outcome: Outcome::Answered(Response { status: 200, body: vec![0, 159] }) },
        Input::Finished { call: 3, outcome: Outcome::Failed("no".into()) },
        Input::Finished { call: 4, outcome: Outcome::Refused("no".into()) },
        Input::Swapped(Box::new(swapped())),
    ]
}

fn swapped() -> Swapped {
    let settled = vec![Settlement { request: 5, parts: 1, end: None }];
    Swapped {
        from: Some(Former { component: ComponentId([1; 32]), formats: vec!["x/1".into()] }),
        to: ComponentId([2; 32]),
        back: false,
        configured: ComponentId([1; 32]),
        base: Base::Snapshot(2),
        instead: vec![(3, Instead::Settled(settled)), (4, Instead::Nothing)],
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        sequence: 3,
        now: 8,
        format: "x/1".into(),
        parts: vec![vec![1; 100_000], vec![], vec![2]],
        offsets: [("imap-1".into(), 9)].into(),
        settings: vec![("a".into(), "b".into())],
        history_bytes: 7,
        tenure: Some(Tenure::of(&swapped(), 3, 8)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}

#[test]
fn every_input_is_read_as_it_was_written() {
    for input in inputs() {
        let record = record(input);
        let bytes = encode_record(4, &record);
        assert_eq!(decode_record(4, 3, &bytes), Ok(record));
    }
}

/// Who changes this changes the format: what was written before must still be read.
#[test]
fn a_record_is_stored_like_this() {
    let bytes = encode_record(4, &record(inputs().remove(0)));
    assert_eq!(
        hex(&bytes),
        "01a5\
         63776974_65302e312e30\
         636e6f77_1b000001a20002c2a0\
         69636f6d706f6e656e74_190102\
         687265616374696f6e_1bffffffffffffffff\
         65696e707574_a1646f70656e_a2\
         6473656564_430102ff\
         6873657474696e6773_818267646f6d61696e736b6578616d706c652e6f7267\
         a340b3b4465a3327"
            .replace('_', "")
    );
}

#[test]
fn inputs_are_stored_like_this() {
    let expected = expect_test::expect![[r#"
        {"open": {"seed": h'0102ff', "settings": [["domains", "example.org"]]}}
        {"configure": {"settings": [["domains", "example.org"]]}}
        "tick"
        {"restarted": {"down_ms": 9, "regressed": true}}
        "drain"
        {"ingest": {"batch": {"accounts": [], "book": ["Gap"]}}}
        {"ingest": {"batch": {"accounts": [], "book": ["Gap"]}, "span": {"source": "imap-1", "offset": 7, "length": 2}, "skipped": {"batch": {"accounts": [], "book": ["Gap"]}, "reason": "it trapped"}}}
        {"answer": {"id": 5, "head": {"method": "POST", "path": "/EWS", "query": "", "content_type": "text/xml", "headers": [["a", "b"]], "secure": true}, "body": h'3c782f3e', "access": {"Denied": "Missing"}, "act_as": {"account": null, "standing": "Unknown"}, "accounts": []}}
        {"settled": [{"request": 5, "parts": 1, "end": "Gone"}]}
        {"finished": {"call": 2, "outcome": {"Answered": {"status": 200, "body": h'009f'}}}}
        {"finished": {"call": 3, "outcome": {"Failed": "no"}}}
        {"finished": {"call": 4, "outcome": {"Refused": "no"}}}
        {"swapped": {"from": {"component": h'0101010101010101010101010101010101010101010101010101010101010101', "formats": ["x/1"]}, "to": h'0202020202020202020202020202020202020202020202020202020202020202', "back": false, "configured": h'0101010101010101010101010101010101010101010101010101010101010101', "base": {"snapshot": 2}, "instead": [[3, {"settled": [{"request": 5, "parts": 1, "end": null}]}], [4, "nothing"]]}}
    "#]];
    let shown = inputs().into_iter().map(|input| {
        let bytes = encode_record(4, &record(input));
        let content = unseal(Place::Record { seat: 4, sequence: 3 }, &bytes).expect("it is whole");
        let map: ciborium::Value = map(content).expect("it is CBOR");
        let input = map.into_map().expect("it is a map").pop().expect("it has keys");
        shown(&input.1) + "\n"
    });
    expected.assert_eq(&shown.collect::<String>());
}

/// CBOR's diagnostic notation (RFC 8949, section 8).
fn shown(value: &ciborium::Value) -> String {
    use ciborium::Value;
    match value {
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Bytes(bytes) => format!("h'{}'", hex(bytes)),
        Value::Text(text) => format!("{text:?}"),
        Value::Bool(is) => is.to_string(),
        Value::Null => "null".into(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{}: {}", shown(key), shown(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        other => panic!("nothing of ours is stored as {other:?}"),
    }
}

/// A record with content that this version does not write.
fn stored(content: ciborium::Value) -> Result<Record, FormatError> {
    decode_record(4, 3, &seal_map(Place::Record { seat: 4, sequence: 3 }, &content))
}

#[test]
fn unknown_keys_are_passed_over_and_absent_ones_have_their_defaults() {
    let later = cbor!({
        "now" => 5, "later" => [1, { "a" => null }],
        "input" => { "ingest" => { "batch" => { "accounts" => [], "book" => ["Gap"], "more" => 1 }, "later" => "x" } },
    });
    let read = stored(later.expect("it is CBOR")).expect("it is understood");
    let input = Input::Ingest { batch: batch(), span: None, skipped: None };
    assert_eq!(read, Record { sequence: 3, now: 5, digest: Digest::default(), input: input.into() });

    let row: Result<SeatRow, _> = map(&written(cbor!({ "number" => 5, "later" => 1 })));
    assert_eq!(row, Ok(SeatRow { number: 5, told: 0, swap: 0 }));
    let row: Result<JournalRow, _> = map(&written(cbor!({ "later" => 1 })));
    assert_eq!(row, Ok(JournalRow::default()));
    let head: SnapshotHead =
        map(&written(cbor!({ "now" => 1, "format" => "x", "parts" => [] }))).expect("it is understood");
    assert_eq!((head.offsets.len(), head.settings.len()), (0, 0));
}

fn written(value: Result<ciborium::Value, ciborium::value::Error>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&value.expect("it is CBOR"), &mut bytes).expect("memory takes it");
    bytes
}

#[test]
fn a_record_of_another_contract_is_said_to_be_one() {
    for input in [cbor!("tick"), cbor!({ "unheard-of" => {} })] {
        let input = input.expect("it is CBOR");
        let content = cbor!({ "wit" => "0.2.0", "now" => 5, "input" => input }).expect("it is CBOR");
        assert_eq!(stored(content), Err(FormatError::Contract("0.2.0".into())));
    }
}

#[test]
fn what_lies_at_the_wrong_place_is_found() {
    let bytes = encode_record(4, &record(Input::Tick));
    assert_eq!(decode_record(5, 3, &bytes), Err(FormatError::Checksum));
    assert_eq!(decode_record(4, 4, &bytes), Err(FormatError::Checksum));
    let piece = encode_piece(4, 3, 1, b"state");
    assert_eq!(decode_piece(4, 3, 1, &piece), Ok(&b"state"[..]));
    assert_eq!(decode_piece(4, 3, 2, &piece), Err(FormatError::Checksum));
    assert!(decode_snapshot(4, 3, &encode_piece(4, 3, 0, b"")).is_err());
}

#[test]
fn another_version_is_said_to_be_one() {
    let mut bytes = encode_record(4, &record(Input::Tick));
    bytes[0] = 2;
    assert_eq!(decode_record(4, 3, &bytes), Err(FormatError::Version(2)));
}

#[test]
fn a_snapshot_is_read_as_it_was_written_or_not_at_all() {
    let head = SnapshotHead::of(&snapshot());
    let bytes = encode_snapshot(4, 3, &head);
    assert_eq!(decode_snapshot(4, 3, &bytes), Ok(head.clone()));

    let state: Vec<Vec<u8>> = {
        let snapshot = snapshot();
        pieces(&snapshot).map(<[u8]>::to_vec).collect()
    };
    assert_eq!(state.len(), 3);
    assert_eq!(head.clone().with_state(3, state.clone()), Some(snapshot()));
    assert_eq!(head.clone().with_state(3, state[..2].to_vec()), None);
    assert_eq!(head.clone().with_state(3, [state.clone(), vec![vec![3]]].concat()), None);
    assert_eq!(head.with_state(3, state[1..].to_vec()), None);
}

proptest! {
    #[test]
    fn random_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode_record(4, 3, &bytes).is_err());
        prop_assert!(decode_snapshot(4, 3, &bytes).is_err());
        prop_assert!(decode_journal(&bytes).is_err());
        // Even where the checksum is right.
        let _ = decode_record(4, 3, &seal(Place::Record { seat: 4, sequence: 3 }, |content| content.extend(&bytes)));
        let _ = map::<SnapshotHead>(&bytes);
    }

    #[test]
    fn a_flipped_bit_is_found(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let inputs = inputs();
        let record = record(inputs[which.index(inputs.len())].clone());
        let mut bytes = encode_record(4, &record);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert!(decode_record(4, 3, &bytes).is_err());
    }

    /// Without the checksum, content that was altered gives a record or an error, and never more memory than it is worth.
    #[test]
    fn altered_content_is_an_error_or_a_record(
        which in any::<prop::sample::Index>(),
        alterations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let inputs = inputs();
        let mut bytes = encode_record(4, &record(inputs[which.index(inputs.len())].clone()));
        for (at, byte) in alterations {
            let at = 1 + at.index(bytes.len() - 9);
            bytes[at] = byte;
        }
        let content = bytes[1..bytes.len() - 8].to_vec();
        let _ = decode_record(4, 3, &seal(Place::Record { seat: 4, sequence: 3 }, |sealed| sealed.extend(&content)));
    }
}

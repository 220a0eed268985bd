#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| postbell_fuzz::logic::zimbra(bytes));

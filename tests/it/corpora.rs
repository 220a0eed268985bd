//! What the fuzz targets have found worth keeping, replayed without a sanitizer.

use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    files
}

#[test]
fn every_target_takes_its_corpus() {
    for (name, target) in targets::targets() {
        let corpus = files(&fuzz().join("corpus").join(name));
        assert!(!corpus.is_empty(), "the corpus of {name} is empty");
        for file in corpus {
            // Shown only when the target panics.
            println!("{}", file.display());
            target(&std::fs::read(&file).expect("a readable file"));
        }
    }
}

/// A binary or a corpus that the list does not name would never be replayed.
#[test]
fn every_binary_and_every_corpus_belongs_to_a_target() {
    let mut named: Vec<_> = targets::targets().into_iter().map(|(name, _)| name.to_owned()).collect();
    named.sort();
    for folder in ["fuzz_targets", "corpus"] {
        let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        let there: Vec<_> = files(&fuzz().join(folder)).into_iter().map(stem).collect();
        assert_eq!(there, named, "{folder}");
    }
}

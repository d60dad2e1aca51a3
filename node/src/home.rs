//! The home directory's layout.

use std::path::{Path, PathBuf};

/// Paths in a home directory.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    pub(crate) fn genesis(&self) -> PathBuf {
        self.0.join("genesis.json")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.data().join("db")
    }

    /// A database that is being filled from a snapshot of the peers.
    pub(crate) fn joining(&self) -> PathBuf {
        self.data().join("joining")
    }

    /// The way along the validator sets, until it goes into that database.
    pub(crate) fn joining_sets(&self) -> PathBuf {
        self.data().join("joining-sets")
    }

    /// Snapshots that this node offers.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.data().join("snapshots")
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.data().join("consensus.wal")
    }

    /// The guard lies beside the key, not beside the database: who copies the key without it gets no signatures.
    pub(crate) fn guard(&self) -> PathBuf {
        self.keys().join("consensus.guard")
    }

    /// Intents of a relayer.
    pub(crate) fn relayer(&self) -> PathBuf {
        self.data().join("relayer.redb")
    }

    /// Where a running relayer answers.
    pub(crate) fn relayer_ops(&self) -> PathBuf {
        self.data().join("relayer.ops")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.data().join("transactions.journal")
    }
}

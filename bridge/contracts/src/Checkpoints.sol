// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {Certificates} from "./Certificates.sol";
import {Digests} from "./Digests.sol";

/// @notice Checkpoints of BTTC: withdrawal roots, and sets handing over to the next.
abstract contract Checkpoints is Certificates {
    function submitCheckpoint(
        Checkpoint calldata cp,
        Dest[] calldata dests,
        bytes calldata set,
        bytes calldata signatures
    ) external {
        Progress memory p = progress;
        // A gateway that is deployed late begins wherever BTTC is.
        if (cp.seq <= p.lastSeq || (p.lastSeq != 0 && cp.seq > p.lastSeq + MAX_JUMP)) revert BadSequence(p.lastSeq, cp.seq);
        if (cp.timestamp > _now() + MAX_AHEAD) revert BadCheckpoint("from the future");
        if (cp.lastBlock <= p.lastBlock) revert BadCheckpoint("block does not grow");
        if (cp.timestamp < p.lastTimestamp) revert BadCheckpoint("time runs back");
        bytes32 hash = _certified(Digests.checkpoint(DOMAIN, cp, dests), set, signatures);
        if (hash != cp.setHash) revert UnknownSet(hash);
        bool current = _requireKnown(hash, false);
        p.lastSeq = cp.seq;
        p.lastBlock = cp.lastBlock;
        p.lastTimestamp = cp.timestamp;
        for (uint256 i; i < dests.length; ++i) {
            if (dests[i].gateway == address(this) && dests[i].rootChainId == ROOT_CHAIN_ID) _accept(dests[i]);
        }
        if (cp.nextSetHash != hash) {
            if (!current) revert UnknownSet(hash);
            _handOver(cp, p);
        }
        progress = p;
        emit CheckpointAccepted(cp.seq, cp.lastBlock, cp.timestamp, hash);
    }

    /// Takes over a tree's root.
    function _accept(Dest calldata dest) private {
        if (dest.withdrawalRoot == 0) revert BadCheckpoint("zero root");
        Tree storage t = _trees[dest.treeId];
        (uint64 count, uint64 position) = (t.count, t.position);
        bytes32 last = t.last;
        if (dest.count < count) revert BadCheckpoint("count shrinks");
        if (dest.count == count) {
            if (last != 0 && last != dest.withdrawalRoot) revert BadCheckpoint("another root for the same count");
            if (last != 0) return;
        }
        if (last != 0) ++position;
        t.count = dest.count;
        t.position = position;
        t.ring[position % RING] = dest.withdrawalRoot;
        t.last = dest.withdrawalRoot;
    }

    function _handOver(Checkpoint calldata cp, Progress memory p) private {
        if (cp.nextSetHash == 0) revert BadCheckpoint("zero set");
        uint64 earliest = p.setActivatedAt + MIN_ROTATION;
        if (_now() < earliest) revert RotationTooEarly(earliest);
        // Counted from BTTC's time, not from now: later the set may be unbonded and nothing binds it.
        uint64 expiresAt = cp.timestamp + EXPIRY;
        if (expiresAt <= _now()) revert SetExpired();
        uint64 overlapEnd = _now() + OVERLAP;
        Status storage s = status;
        s.prevValidUntil = overlapEnd < s.setExpiresAt ? overlapEnd : s.setExpiresAt;
        s.setExpiresAt = expiresAt;
        prevSetHash = setHash;
        setHash = cp.nextSetHash;
        p.setActivatedAt = _now();
        emit SetChanged(cp.nextSetHash, expiresAt);
    }

    /// @notice Two certificates that contradict each other freeze the gateway. Anyone may show them.
    function reportEquivocation(
        Checkpoint calldata cpA,
        Dest[] calldata destsA,
        bytes calldata setA,
        bytes calldata signaturesA,
        Checkpoint calldata cpB,
        Dest[] calldata destsB,
        bytes calldata setB,
        bytes calldata signaturesB
    ) external {
        bytes32 digestA = _reported(cpA, destsA, setA, signaturesA);
        bytes32 digestB = _reported(cpB, destsB, setB, signaturesB);
        if (!_conflict(cpA, destsA, digestA, cpB, destsB, digestB)) revert NoConflict();
        status.frozen = true;
        emit Frozen(digestA, digestB);
    }

    function _reported(
        Checkpoint calldata cp,
        Dest[] calldata dests,
        bytes calldata set,
        bytes calldata signatures
    ) private view returns (bytes32 digest) {
        digest = Digests.checkpoint(DOMAIN, cp, dests);
        bytes32 hash = _certified(digest, set, signatures);
        if (hash != cp.setHash) revert UnknownSet(hash);
        _requireKnown(hash, true);
    }

    function _conflict(
        Checkpoint calldata a,
        Dest[] calldata destsA,
        bytes32 digestA,
        Checkpoint calldata b,
        Dest[] calldata destsB,
        bytes32 digestB
    ) private view returns (bool) {
        if (a.seq == b.seq) return digestA != digestB;
        // The caller names the lower one first.
        if (a.seq > b.seq) return false;
        if (b.lastBlock <= a.lastBlock || b.timestamp < a.timestamp) return true;
        for (uint256 i; i < destsA.length; ++i) {
            if (destsA[i].gateway != address(this) || destsA[i].rootChainId != ROOT_CHAIN_ID) continue;
            for (uint256 j; j < destsB.length; ++j) {
                Dest calldata d = destsB[j];
                if (d.gateway != address(this) || d.rootChainId != ROOT_CHAIN_ID || d.treeId != destsA[i].treeId) {
                    continue;
                }
                if (d.count < destsA[i].count) return true;
                if (d.count == destsA[i].count && d.withdrawalRoot != destsA[i].withdrawalRoot) return true;
            }
        }
        return false;
    }

    /// @notice Leaves of a tree, and its last root.
    function tree(uint32 treeId) external view returns (uint64 count, bytes32 root) {
        Tree storage t = _trees[treeId];
        return (t.count, t.last);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {Claims} from "./Claims.sol";
import {Digests} from "./Digests.sol";

/// @notice What others than depositors and claimers may do: the set commands, pausers pause, recovery signers replace a set
/// that is lost, after a long time in public. Nobody owns the gateway and no key moves its funds.
abstract contract Commands is Claims {
    uint8 internal constant MAP_TOKEN = 1;
    uint8 internal constant UNMAP_TOKEN = 2;
    uint8 internal constant SET_LIMIT = 3;
    uint8 internal constant PAUSE = 4;
    uint8 internal constant UNPAUSE = 5;
    uint8 internal constant UPGRADE = 6;

    /// Called once by the proxy's constructor.
    function initialize(
        bytes calldata firstSet,
        uint64 setTimestamp,
        address[] calldata firstPausers,
        address[] calldata signers,
        uint256 threshold
    ) external initializer {
        if (threshold == 0 || threshold > signers.length) revert BadSettings();
        if (setTimestamp > _now() + MAX_AHEAD || setTimestamp + EXPIRY <= _now()) revert BadSettings();
        setHash = _checkSet(firstSet);
        status.setExpiresAt = setTimestamp + EXPIRY;
        progress.setActivatedAt = _now();
        depositAcc = keccak256(abi.encode(Digests.FIRST_ACC_TYPE, BRIDGE_ID, ROOT_CHAIN_ID, address(this)));
        for (uint256 i; i < firstPausers.length; ++i) {
            pausers[firstPausers[i]].allowed = true;
        }
        for (uint256 i; i < signers.length; ++i) {
            if (signers[i] == address(0) || recoverers[signers[i]]) revert BadSettings();
            recoverers[signers[i]] = true;
        }
        recoveryThreshold = threshold;
        emit SetChanged(setHash, status.setExpiresAt);
    }

    /// @notice Does what more than two thirds of the set signed. Works while paused or frozen.
    function execute(
        uint64 commandNonce,
        uint8 kind,
        bytes calldata payload,
        bytes calldata set,
        bytes calldata signatures
    ) external {
        if (commandNonce != counters.commandNonce + 1) revert BadSequence(counters.commandNonce, commandNonce);
        bytes32 digest = Digests.command(DOMAIN, ROOT_CHAIN_ID, address(this), commandNonce, kind, payload);
        _requireKnown(_certified(digest, set, signatures), false);
        counters.commandNonce = commandNonce;
        if (kind == MAP_TOKEN || kind == SET_LIMIT) {
            (address token, uint256 minimum, uint256 floor) = abi.decode(payload, (address, uint256, uint256));
            _setToken(commandNonce, kind, token, minimum, floor);
        } else if (kind == UNMAP_TOKEN) {
            tokens[abi.decode(payload, (address))].mapped = false;
        } else if (kind == PAUSE) {
            status.pausedUntil = type(uint64).max;
        } else if (kind == UNPAUSE) {
            status.pausedUntil = 0;
        } else if (kind == UPGRADE) {
            // A set that contradicted itself must not replace what stopped it.
            if (status.frozen) revert IsFrozen();
            pendingImplementation = abi.decode(payload, (address));
            upgradeReadyAt = _now() + UPGRADE_DELAY;
            emit UpgradeScheduled(pendingImplementation, upgradeReadyAt);
        } else {
            emit CommandFailed(commandNonce, "unknown kind");
        }
        emit Executed(commandNonce, kind, payload);
    }

    /// A command that cannot be carried out has used its number: it must not stop those behind it.
    function _setToken(uint64 commandNonce, uint8 kind, address token, uint256 minimum, uint256 floor) private {
        if (minimum == 0 || minimum > type(uint112).max || floor > type(uint112).max) {
            emit CommandFailed(commandNonce, "limits");
            return;
        }
        if (kind == MAP_TOKEN ? token != NATIVE_COIN && token.code.length == 0 : !tokens[token].mapped) {
            emit CommandFailed(commandNonce, "no such token");
            return;
        }
        tokens[token] = TokenConfig(uint112(floor), uint112(minimum), true);
    }

    /// @notice Switches to an implementation whose waiting time is over.
    function finishUpgrade() external {
        address implementation = pendingImplementation;
        if (implementation == address(0)) revert BadCommand("no upgrade");
        if (status.frozen) revert IsFrozen();
        if (_now() < upgradeReadyAt) revert TooEarly(upgradeReadyAt);
        if (Commands(implementation).BRIDGE_ID() != BRIDGE_ID) revert BadCommand("another bridge");
        pendingImplementation = address(0);
        ERC1967Utils.upgradeToAndCall(implementation, "");
    }

    /// @notice Stops deposits and payouts for a while. A pauser can do nothing else, and cannot end a pause.
    function pause() external {
        Pauser storage p = pausers[msg.sender];
        if (!p.allowed) revert NotAllowed();
        if (p.lastPause != 0 && _now() < p.lastPause + PAUSE_REST) revert TooEarly(p.lastPause + PAUSE_REST);
        p.lastPause = _now();
        uint64 until = _now() + PAUSE_SECONDS;
        if (until > status.pausedUntil) status.pausedUntil = until;
        emit Paused(msg.sender, status.pausedUntil);
    }

    /// @notice A recovery signer approves a new set for a gateway that is frozen or whose set has expired.
    function approveRecovery(bytes calldata set, uint64 seq) external {
        if (!recoverers[msg.sender]) revert NotAllowed();
        _requireLost();
        if (seq < progress.lastSeq) revert BadSequence(progress.lastSeq, seq);
        bytes32 hash = _checkSet(set);
        bytes32 proposal = keccak256(abi.encode(recoveryRound, hash, seq));
        if (_recoveryApproved[proposal][msg.sender]) revert NotAllowed();
        _recoveryApproved[proposal][msg.sender] = true;
        if (++_recoveryApprovals[proposal] == recoveryThreshold) {
            recoverySetHash = hash;
            recoverySeq = seq;
            recoveryReadyAt = _now() + RECOVERY_DELAY;
            emit RecoveryProposed(hash, seq, recoveryReadyAt);
        }
    }

    /// @notice Puts the new set into force once everybody had time to object.
    function finishRecovery() external {
        _requireLost();
        if (recoverySetHash == 0) revert NotAllowed();
        if (_now() < recoveryReadyAt) revert TooEarly(recoveryReadyAt);
        setHash = recoverySetHash;
        prevSetHash = 0;
        progress.lastSeq = recoverySeq;
        progress.setActivatedAt = _now();
        status.setExpiresAt = _now() + EXPIRY;
        status.prevValidUntil = 0;
        // What the lost set left behind is looked at before anything moves again: the new one unpauses.
        if (status.frozen) status.pausedUntil = type(uint64).max;
        pendingImplementation = address(0);
        status.frozen = false;
        recoverySetHash = 0;
        ++recoveryRound;
        emit Recovered(setHash, status.setExpiresAt);
    }

    function _requireLost() private view {
        if (!status.frozen && !_expired()) revert NotAllowed();
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// @title A bridge gateway: what a root chain locks for BTTC, and releases on its word.
interface IGateway {
    /// @notice Withdrawals of one gateway in a checkpoint.
    struct Dest {
        uint64 rootChainId;
        address gateway;
        uint32 treeId;
        bytes32 withdrawalRoot;
        uint64 count;
    }

    /// @notice What members sign of BTTC. `nextSetHash` equals `setHash` unless another set follows.
    struct Checkpoint {
        uint64 seq;
        uint64 lastBlock;
        bytes32 lastBlockHash;
        uint64 timestamp;
        bytes32 setHash;
        bytes32 nextSetHash;
    }

    /// @notice What deployment fixes; durations in seconds.
    struct Settings {
        bytes32 bridgeId;
        /// Signers that a certificate needs besides two thirds of the power.
        uint32 minSigners;
        uint32 minRotation;
        uint32 overlap;
        uint32 expiry;
        uint32 largeDelay;
        uint32 bucketWindow;
        uint32 upgradeDelay;
        uint32 recoveryDelay;
        uint32 pauseSeconds;
        uint32 pauseRest;
    }

    /// @notice A withdrawal of which a part waits.
    struct Pending {
        address token;
        uint64 availableAt;
        address recipient;
        address claimer;
        uint112 remaining;
        uint112 feeRemaining;
    }

    event Deposit(
        uint64 indexed nonce, address indexed token, address indexed sender, address recipient, uint256 amount, bytes32 acc
    );
    event Funded(address indexed token, address indexed from, uint256 amount);
    event CheckpointAccepted(uint64 indexed seq, uint64 lastBlock, uint64 timestamp, bytes32 setHash);
    event SetChanged(bytes32 indexed setHash, uint64 expiresAt);
    event Claimed(
        uint32 indexed treeId, uint64 indexed index, address indexed recipient, address token, uint256 amount, uint256 paid
    );
    event Delayed(uint32 indexed treeId, uint64 indexed index, uint64 availableAt);
    event Released(uint32 indexed treeId, uint64 indexed index, uint256 paid, uint256 remaining);
    event Executed(uint64 indexed commandNonce, uint8 kind, bytes payload);
    event CommandFailed(uint64 indexed commandNonce, string reason);
    event Paused(address indexed pauser, uint64 until);
    event Frozen(bytes32 digestA, bytes32 digestB);
    event UpgradeScheduled(address implementation, uint64 readyAt);
    event RecoveryProposed(bytes32 indexed setHash, uint64 seq, uint64 readyAt);
    event Recovered(bytes32 indexed setHash, uint64 expiresAt);

    error BadSettings();
    error NotMapped(address token);
    error AmountTooSmall(uint256 amount, uint256 minimum);
    error AmountTooLarge(uint256 amount);
    error ZeroAddress();
    error FeeOnTransfer(uint256 expected, uint256 received);
    error TransferFailed();
    error IsPaused();
    error IsFrozen();
    error SetExpired();
    error UnknownSet(bytes32 setHash);
    error MalformedSet();
    error BadSignature(uint256 position);
    error TooLittlePower(uint256 got, uint256 total);
    error TooFewSigners(uint256 got, uint256 least);
    error BadSequence(uint64 last, uint64 got);
    error BadCheckpoint(string reason);
    error RotationTooEarly(uint64 earliest);
    error UnknownRoot(bytes32 root);
    error AlreadyClaimed(uint32 treeId, uint64 index);
    error NothingPending(uint32 treeId, uint64 index);
    error TooEarly(uint64 availableAt);
    error PayoutFailed(address token);
    error BadCommand(string reason);
    error NotAllowed();
    error NoConflict();

    function deposit(address token, uint256 amount, address recipient) external;

    function depositNative(address recipient) external payable;

    function submitCheckpoint(
        Checkpoint calldata checkpoint,
        Dest[] calldata dests,
        bytes calldata set,
        bytes calldata signatures
    ) external;

    function claim(
        uint32 treeId,
        uint64 index,
        address token,
        address sender,
        address recipient,
        uint256 amount,
        uint256 relayerFee,
        bytes32[32] calldata proof
    ) external;

    function release(uint32 treeId, uint64 index) external;

    function execute(
        uint64 commandNonce,
        uint8 kind,
        bytes calldata payload,
        bytes calldata set,
        bytes calldata signatures
    ) external;
}

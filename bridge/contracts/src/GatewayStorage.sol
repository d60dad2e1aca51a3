// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Digests} from "./Digests.sol";
import {IGateway} from "./IGateway.sol";

/// @notice Variables and constants of a gateway. Append only: an upgrade keeps the storage.
abstract contract GatewayStorage is IGateway, Initializable, ReentrancyGuardTransient {
    /// Token id of the chain's own coin.
    address public constant NATIVE_COIN = 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE;
    /// A checkpoint's number may be so much above the last one's.
    uint64 internal constant MAX_JUMP = 10_000;
    /// BTTC's clock may be so much ahead, seconds.
    uint64 internal constant MAX_AHEAD = 600;
    /// Roots against which claims are proved.
    uint256 internal constant RING = 64;

    bytes32 public immutable BRIDGE_ID;
    uint64 public immutable ROOT_CHAIN_ID;
    bytes32 internal immutable DOMAIN;
    uint32 public immutable MIN_SIGNERS;
    uint32 public immutable MIN_ROTATION;
    uint32 public immutable OVERLAP;
    uint32 public immutable EXPIRY;
    uint32 public immutable LARGE_DELAY;
    uint32 public immutable BUCKET_WINDOW;
    uint32 public immutable UPGRADE_DELAY;
    uint32 public immutable RECOVERY_DELAY;
    uint32 public immutable PAUSE_SECONDS;
    uint32 public immutable PAUSE_REST;

    struct Progress {
        uint64 lastSeq;
        uint64 lastBlock;
        uint64 lastTimestamp;
        uint64 setActivatedAt;
    }

    struct Status {
        uint64 setExpiresAt;
        uint64 prevValidUntil;
        uint64 pausedUntil;
        bool frozen;
    }

    struct Counters {
        uint64 depositCount;
        uint64 commandNonce;
    }

    struct TokenConfig {
        uint112 floor;
        uint112 minimum;
        bool mapped;
    }

    struct TokenState {
        uint112 locked;
        uint112 level;
        uint32 updated;
    }

    struct Tree {
        uint64 count;
        uint64 position;
        /// The newest root, again: a claim nearly always needs no other.
        bytes32 last;
        bytes32[64] ring;
        mapping(uint256 => uint256) claimed;
    }

    struct Pauser {
        bool allowed;
        uint64 lastPause;
    }

    /// Hash of the set in force.
    bytes32 public setHash;
    /// Hash of the one before it.
    bytes32 public prevSetHash;
    Progress public progress;
    Status public status;
    Counters public counters;
    /// Running hash over all deposits.
    bytes32 public depositAcc;
    mapping(address => TokenConfig) public tokens;
    mapping(address => TokenState) public states;
    mapping(uint32 => Tree) internal _trees;
    mapping(bytes32 => Pending) internal _pending;
    mapping(address => Pauser) public pausers;
    mapping(address => bool) public recoverers;
    uint256 public recoveryThreshold;
    uint256 public recoveryRound;
    mapping(bytes32 => mapping(address => bool)) internal _recoveryApproved;
    mapping(bytes32 => uint256) internal _recoveryApprovals;
    bytes32 public recoverySetHash;
    uint64 public recoverySeq;
    uint64 public recoveryReadyAt;
    address public pendingImplementation;
    uint64 public upgradeReadyAt;

    constructor(Settings memory s) {
        if (
            s.bridgeId == 0 || s.minSigners == 0 || s.bucketWindow == 0 || s.expiry <= s.overlap
                || s.expiry <= s.minRotation
        ) revert BadSettings();
        BRIDGE_ID = s.bridgeId;
        // TRON counts its chain id in two ways; both have these four bytes.
        ROOT_CHAIN_ID = uint64(block.chainid & 0xffffffff);
        DOMAIN = Digests.domain(s.bridgeId);
        MIN_SIGNERS = s.minSigners;
        MIN_ROTATION = s.minRotation;
        OVERLAP = s.overlap;
        EXPIRY = s.expiry;
        LARGE_DELAY = s.largeDelay;
        BUCKET_WINDOW = s.bucketWindow;
        UPGRADE_DELAY = s.upgradeDelay;
        RECOVERY_DELAY = s.recoveryDelay;
        PAUSE_SECONDS = s.pauseSeconds;
        PAUSE_REST = s.pauseRest;
        _disableInitializers();
    }

    function _now() internal view returns (uint64) {
        return uint64(block.timestamp);
    }

    /// Whether the set's word counts no more.
    function _expired() internal view returns (bool) {
        return _now() > status.setExpiresAt;
    }
}

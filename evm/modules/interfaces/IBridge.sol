// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title The bridge's ledger, native code at 0x0000000000000000000000000000000000001001.
/// @notice Deposits on root chains are credited here, withdrawals burned here and proved there. Amounts are in the token's
/// smallest units, which are the same on both sides.
interface IBridge {
    /// @notice A deposit as its gateway recorded it; its number follows from its place.
    struct Deposit {
        address token;
        address sender;
        address recipient;
        uint256 amount;
    }

    /// @notice Withdrawals of one gateway in a checkpoint.
    struct Dest {
        uint64 rootChainId;
        address gateway;
        uint32 treeId;
        bytes32 withdrawalRoot;
        uint64 count;
    }

    /// @notice What members sign of this chain.
    struct Checkpoint {
        uint64 seq;
        uint64 lastBlock;
        bytes32 lastBlockHash;
        uint64 timestamp;
        bytes32 setHash;
        bytes32 nextSetHash;
    }

    /// @notice A gateway as the ledger knows it.
    struct GatewayInfo {
        uint64 rootChainId;
        address gateway;
        string name;
        uint64 depositNonce;
        bytes32 depositAcc;
        uint32 treeId;
        uint64 withdrawals;
        bytes32 withdrawalRoot;
        uint64 commands;
        bool paused;
    }

    /// @notice A token of a gateway.
    struct TokenInfo {
        address root;
        address wrapped;
        bool mapped;
        uint256 locked;
        uint256 minted;
        uint256 parked;
        uint256 minimum;
        uint256 floor;
        uint256 available;
    }

    /// @notice A credit that could not be made yet.
    struct ParkedInfo {
        address token;
        address sender;
        address recipient;
        uint256 amount;
        bool returnable;
    }

    event DepositApplied(
        uint64 indexed rootChainId, address indexed gateway, uint64 indexed nonce, address recipient, address token, uint256 amount, uint256 credited
    );
    event Parked(uint64 indexed rootChainId, address indexed gateway, uint64 indexed nonce, uint256 amount, uint8 reason);
    event Released(uint64 indexed rootChainId, address indexed gateway, uint64 indexed nonce, uint256 amount, uint256 remaining);
    event Returned(uint64 indexed rootChainId, address indexed gateway, uint64 indexed nonce, uint256 amount);
    event Withdrawn(
        uint64 indexed rootChainId, address indexed gateway, uint64 indexed index, uint32 treeId, address token, address sender, address recipient, uint256 amount, uint256 relayerFee
    );
    event SetSwitched(uint64 setId, bytes32 setHash);
    event Accused(uint32 indexed id, uint64 dueMs, address reporter);

    error UnknownGateway(uint64 rootChainId, address gateway);
    error UnknownToken(address token);
    error BadCertificate(string reason);
    error TooManyDeposits(uint256 got, uint256 limit);
    error NothingParked(uint64 nonce);
    error StillParked(uint8 reason);
    error NotReturnable(uint64 nonce);
    error AmountTooSmall(uint256 amount, uint256 minimum);
    error FeeTooLarge(uint256 fee, uint256 amount);
    error BadRecipient(address recipient);
    error NotEnoughLocked(uint256 amount, uint256 locked);
    error NotEnough(uint256 balance, uint256 amount);
    error GatewayPaused();
    error BridgeHalted();
    error UnknownCheckpoint(uint64 seq);
    error NoHandOver(uint64 seq);
    error BadEvidence(string reason);

    /// @notice Applies the deposits after the last applied one, which more than two thirds of the bridge set attest.
    /// `signatures` are (index, r, s, v) of the set in force, by ascending index.
    function applyDeposits(uint64 rootChainId, address gateway, Deposit[] calldata deposits, bytes calldata signatures) external;

    /// @notice Adds signatures to an applied certificate, so that nobody is counted absent for the carrier's choice.
    function addSignatures(uint64 rootChainId, address gateway, uint64 toNonce, bytes calldata signatures) external;

    /// @notice Pays a parked credit to its recipient as far as the bucket reaches. Anyone may ask.
    function releaseParked(uint64 rootChainId, address gateway, uint64 nonce) external returns (uint256 paid);

    /// @notice Sends a parked credit that can never be made back to whoever deposited it. Anyone may ask.
    function returnParked(uint64 rootChainId, address gateway, uint64 nonce) external;

    /// @notice Burns the caller's tokens (0x…1010: BTT) and lets `recipient` claim them on the token's root chain.
    /// `relayerFee` of the amount goes to whoever brings the claim.
    function withdraw(address token, uint256 amount, address recipient, uint256 relayerFee) external returns (uint64 index);

    /// @notice As `withdraw`, at a gateway other than the token's newest one.
    function withdrawAt(uint64 rootChainId, address gateway, address token, uint256 amount, address recipient, uint256 relayerFee)
        external
        returns (uint64 index);

    /// @notice Shows that the set in force has signed the hand-over to the next one, which is in force then.
    function certifyCheckpoint(uint64 seq, bytes calldata signatures) external;

    /// @notice Accuses the signer of an attestation that differs from what was applied.
    function accuseAttestation(uint64 rootChainId, address gateway, uint64 toNonce, bytes32 accTo, bytes calldata signature) external;

    /// @notice Accuses the signer of two different attestations for one number.
    function accuseConflict(
        uint64 rootChainId, address gateway, uint64 toNonce, bytes32 accA, bytes calldata signatureA, bytes32 accB, bytes calldata signatureB
    ) external;

    /// @notice Accuses the signer of a checkpoint that the ledger did not make.
    function accuseCheckpoint(Checkpoint calldata checkpoint, Dest[] calldata dests, bytes calldata signature) external;

    /// @notice The gateways, in order of registration.
    function gateways() external view returns (GatewayInfo[] memory);

    /// @notice Tokens of a gateway.
    function tokens(uint64 rootChainId, address gateway) external view returns (TokenInfo[] memory);

    /// @notice What is parked of a deposit.
    function parked(uint64 rootChainId, address gateway, uint64 nonce) external view returns (ParkedInfo memory);

    /// @notice Number of the set in force, of the one that waits for its hand-over (0: none), and of the last checkpoint.
    function state() external view returns (uint64 setId, uint64 nextSetId, uint64 checkpoints, bool halted);

    /// @notice The encoding of a set: id, total power, then key and power of each member.
    function set(uint64 setId) external view returns (bytes memory);

    /// @notice BTT that back deposits from TRON.
    function reserve() external view returns (uint256);
}

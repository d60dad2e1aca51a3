// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title Staking: validators, delegations, unbonding, evidence
/// @notice Native module at 0x0000000000000000000000000000000000001000. Amounts are in wei of BTT, times in milliseconds
/// since 1970 of block time. A change of stake becomes voting power at the end of its epoch and takes effect one epoch
/// later.
interface IStaking {
    /// @notice A validator. `power` is that of the set in force now.
    struct ValidatorInfo {
        uint32 id;
        address owner;
        address consensusKey;
        address bridgeKey;
        uint16 commissionBps;
        uint64 power;
        uint256 tokens;
        uint256 shares;
        uint256 selfStake;
        bool candidate;
        bool jailed;
        bool tombstoned;
        bool exiting;
        uint64 jailedUntil;
        uint64 missedBlocks;
        string name;
    }

    /// @notice A member of a validator set.
    struct MemberInfo {
        uint32 id;
        address consensusKey;
        uint64 power;
    }

    /// @notice Stake on its way out. `amount` is before slashes; `maturity` is 0 while the power that it gave is still in
    /// force; `target` is the validator to which it goes, 0 when it is paid out.
    struct UnbondingInfo {
        uint32 validator;
        uint32 target;
        uint256 amount;
        uint256 value;
        uint64 maturity;
    }

    event ValidatorCreated(uint32 indexed id, address indexed owner, address consensusKey, address bridgeKey, string name);
    event ValidatorEdited(uint32 indexed id, uint16 commissionBps, string name);
    event KeyRotated(uint32 indexed id, uint8 role, address key);
    event Delegated(uint32 indexed id, address indexed delegator, uint256 amount, uint256 shares);
    event Undelegated(uint32 indexed id, address indexed delegator, uint256 amount, uint256 shares, uint32 target);
    event Withdrawn(address indexed delegator, uint32 indexed id, uint256 amount, uint256 slashed, uint32 target);
    event RewardsClaimed(uint32 indexed id, address indexed delegator, uint256 amount);
    event Unjailed(uint32 indexed id);
    event Exiting(uint32 indexed id);
    event Slashed(uint32 indexed id, uint256 amount, uint64 height, address indexed reporter, uint256 reward);

    /// @notice The caller has no validator.
    error NoValidator(address caller);
    /// @notice There is no validator with this number.
    error UnknownValidator(uint32 id);
    /// @notice The caller has a validator already, or had one that left.
    error ValidatorExists(uint32 id);
    /// @notice The key is, or was, registered by somebody in some role.
    error KeyInUse(address key);
    /// @notice The key's owner did not sign for this use of it: see `keyDigest`.
    error BadProof(address key);
    /// @notice Roles are 1 (consensus) and 2 (bridge).
    error BadRole(uint8 role);
    /// @notice Commission is at most 100 %, and rises by at most 5 points once a day.
    error BadCommission(uint16 commissionBps);
    /// @notice Names have 1 to 64 bytes.
    error BadName();
    /// @notice The amount is below the minimum.
    error AmountTooSmall(uint256 amount, uint256 minimum);
    /// @notice What would stay is neither nothing nor at least the minimum.
    error RemainderTooSmall(uint256 remainder, uint256 minimum);
    /// @notice The delegation is worth less than that.
    error AmountTooLarge(uint256 amount, uint256 available);
    /// @notice The validator takes no stake: it left, or signed twice.
    error NotAccepting(uint32 id);
    /// @notice Withdraw what is mature first: nobody may have more entries than this.
    error TooManyEntries(uint256 limit);
    /// @notice Delegations to more validators than this are not possible for one account.
    error TooManyDelegations(uint256 limit);
    /// @notice The validator is not jailed.
    error NotJailed(uint32 id);
    /// @notice It signed twice and stays jailed.
    error Tombstoned(uint32 id);
    /// @notice Jail ends later; 0 while the power has not left the set yet.
    error StillJailed(uint64 until);
    /// @notice The last validator cannot leave.
    error LastValidator();
    /// @notice The evidence does not prove anything.
    error BadEvidence(string reason);

    /// @notice Creates the caller's validator with the value as its own stake.
    /// @param consensusKey address of the key that signs votes
    /// @param consensusProof its signature over `keyDigest(caller, 1)`
    /// @param bridgeKey address of the key that signs for the bridge
    /// @param bridgeProof its signature over `keyDigest(caller, 2)`
    /// @param commissionBps the validator's share of its delegators' rewards, in 1/10,000
    /// @param name 1 to 64 bytes for people
    function createValidator(
        address consensusKey,
        bytes calldata consensusProof,
        address bridgeKey,
        bytes calldata bridgeProof,
        uint16 commissionBps,
        string calldata name
    ) external payable returns (uint32 id);

    /// @notice Changes commission and name of the caller's validator.
    function editValidator(uint16 commissionBps, string calldata name) external;

    /// @notice Replaces a key of the caller's validator. The old one still answers for what it signed.
    function rotateKey(uint8 role, address key, bytes calldata proof) external;

    /// @notice Delegates the value.
    function delegate(uint32 id) external payable returns (uint256 shares);

    /// @notice Takes stake back; it is paid out by `withdraw` after unbonding. The largest uint256 takes all.
    function undelegate(uint32 id, uint256 amount) external returns (uint256 undelegated);

    /// @notice Takes stake back and delegates it to another validator when it has unbonded.
    function redelegate(uint32 from, uint32 to, uint256 amount) external returns (uint256 undelegated);

    /// @notice Pays out (or redelegates) what has unbonded. Anyone may call it for anyone.
    function withdraw(address delegator) external returns (uint256 paid);

    /// @notice Pays the caller's rewards of a validator, with the commission when the caller owns it.
    function claimRewards(uint32 id) external returns (uint256 amount);

    /// @notice Ends the jail of the caller's validator when its time is over.
    function unjail() external;

    /// @notice The caller's validator leaves for ever; its own stake unbonds.
    function exit() external;

    /// @notice Reports that a validator signed two different things for one height, round and step.
    /// @param evidence RLP as the protocol defines it
    function submitEvidence(bytes calldata evidence) external;

    /// @notice How many validators there ever were; their numbers begin with 1.
    function validatorCount() external view returns (uint32);

    /// @notice A validator by number.
    function validator(uint32 id) external view returns (ValidatorInfo memory);

    /// @notice Number of the validator with this owner or key; 0 when there is none.
    function validatorOf(address account) external view returns (uint32 id);

    /// @notice A delegation: shares, what they are worth, and rewards that wait.
    function delegation(uint32 id, address delegator)
        external
        view
        returns (uint256 shares, uint256 amount, uint256 rewards);

    /// @notice Validators to which an account delegates.
    function delegationsOf(address delegator) external view returns (uint32[] memory ids);

    /// @notice Stake of an account on its way out.
    function unbondings(address delegator) external view returns (UnbondingInfo[] memory);

    /// @notice Epoch of the current block.
    function epoch() external view returns (uint64);

    /// @notice The validator set of an epoch, by descending power.
    function validatorSet(uint64 epochNumber) external view returns (MemberInfo[] memory);

    /// @notice Hash of the set that was computed last: the one of the epoch after next at the end of an epoch.
    function nextSetHash() external view returns (bytes32);

    /// @notice Stake of all pools, and stake on its way out before slashes.
    function totals() external view returns (uint256 delegated, uint256 unbonding);

    /// @notice What a key must sign to be registered by this owner in this role.
    function keyDigest(address owner, uint8 role) external view returns (bytes32);
}

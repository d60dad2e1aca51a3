// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title Governance: proposals, votes, parameters, upgrades, treasury
/// @notice Native module at 0x0000000000000000000000000000000000001002. Amounts are in wei of BTT, times in milliseconds of
/// block time, shares of a vote in 1/10,000.
interface IGovernance {
    /// @notice How a voter divides its weight; the four add up to 10,000.
    struct Split {
        uint16 yes;
        uint16 no;
        uint16 abstain;
        uint16 veto;
    }

    /// @notice A change of a parameter by its number.
    struct Change {
        uint16 parameter;
        uint64 value;
    }

    /// @notice A proposal. Kinds: 1 text, 2 parameters, 3 upgrade, 4 treasury payment. Status: 1 deposit, 2 waiting for a
    /// place, 3 voting, 4 rejected, 5 vetoed, 6 without quorum, 7 passed and waiting, 8 executed, 9 failed.
    struct ProposalInfo {
        uint64 id;
        address proposer;
        uint8 kind;
        uint8 status;
        bool expedited;
        uint64 depositEnd;
        uint64 votingStart;
        uint64 votingEnd;
        uint64 executeAt;
        uint256 deposit;
        uint256 bonded;
        uint256 yes;
        uint256 no;
        uint256 abstain;
        uint256 veto;
        string title;
        bytes payload;
    }

    event Proposed(uint64 indexed id, address indexed proposer, uint8 kind, string title, string description);
    event Deposited(uint64 indexed id, address indexed depositor, uint256 amount);
    event DepositWithdrawn(uint64 indexed id, address indexed depositor, uint256 amount);
    event Voted(uint64 indexed id, address indexed voter, uint32 indexed validator, uint256 weight, Split split);
    event ValidatorVoted(uint64 indexed id, uint32 indexed validator, Split split);

    /// @notice There is no such proposal.
    error UnknownProposal(uint64 id);
    /// @notice The proposal's status does not allow this.
    error WrongStatus(uint64 id, uint8 status);
    /// @notice A proposal needs a tenth of the deposit at once.
    error DepositTooSmall(uint256 amount, uint256 minimum);
    /// @notice Too many proposals wait for a place in voting.
    error QueueFull(uint256 limit);
    /// @notice Titles have 1 to 128 bytes, descriptions at most 10,000.
    error BadText();
    /// @notice The parameters would not be valid.
    error BadParameters(string reason);
    /// @notice The upgrade has no name of 1 to 32 bytes, or its height is over before it could pass.
    error BadUpgrade();
    /// @notice A payment needs a recipient and an amount.
    error BadPayment();
    /// @notice Payments always wait.
    error NotExpeditable();
    /// @notice The parts of a vote do not add up to 10,000.
    error BadSplit();
    /// @notice The caller had no stake there when the voting opened.
    error NoWeight(uint32 validator);
    /// @notice The caller owns no validator of the set that voted is counted for.
    error NotValidator(address caller);
    /// @notice At most so many validators in one vote.
    error TooMany(uint256 limit);
    /// @notice Nothing of the caller's is there to be paid back.
    error NoDeposit();

    /// @notice Proposes a text that changes nothing.
    function proposeText(string calldata title, string calldata description) external payable returns (uint64 id);

    /// @notice Proposes new values of parameters; all take effect in the same block.
    function proposeParameters(Change[] calldata changes, bool expedited, string calldata title, string calldata description)
        external
        payable
        returns (uint64 id);

    /// @notice Proposes that from a height on only programs that know the upgrade may go on.
    function proposeUpgrade(string calldata name, uint64 height, bool expedited, string calldata title, string calldata description)
        external
        payable
        returns (uint64 id);

    /// @notice Proposes a payment from the reward pool.
    function proposePayment(address recipient, uint256 amount, string calldata title, string calldata description)
        external
        payable
        returns (uint64 id);

    /// @notice An operation on the bridge. Kinds with their `data`: 1 register (string name, uint64 setId), 2 map a token
    /// (address root, string name, string symbol, uint16 decimals, uint256 minimum, uint256 floor, bool native),
    /// 3 unmap (address root), 4 limits (address root, uint256 minimum, uint256 floor), 5 pause (), 6 unpause (),
    /// 7 upgrade (address implementation), 8 dismiss an accusation (uint32 validator), 9 carry out all accusations and go on ().
    struct BridgeOperation {
        uint8 kind;
        uint64 rootChainId;
        address gateway;
        bytes data;
    }

    error BadOperation(string reason);

    /// @notice Proposes an operation on the bridge.
    function proposeBridge(BridgeOperation calldata operation, bool expedited, string calldata title, string calldata description)
        external
        payable
        returns (uint64 id);

    /// @notice Adds the value to a proposal's deposit.
    function deposit(uint64 id) external payable;

    /// @notice Pays back the caller's deposit of a proposal that ended without a penalty.
    function withdrawDeposit(uint64 id) external returns (uint256 amount);

    /// @notice Votes with the caller's stake at these validators, as it was when the voting opened; with none named, at those
    /// to which the caller delegates now. Voting again replaces the vote.
    function vote(uint64 id, uint32[] calldata validators, Split calldata split) external returns (uint256 weight);

    /// @notice Votes with the stake of the caller's validator, except that of delegators who vote themselves.
    function voteAsValidator(uint64 id, Split calldata split) external;

    /// @notice How many proposals there ever were; their numbers begin with 1.
    function proposalCount() external view returns (uint64);

    /// @notice A proposal. While it is in voting the sums hold delegators' votes only.
    function proposal(uint64 id) external view returns (ProposalInfo memory);

    /// @notice Value of a parameter by its number.
    function parameter(uint16 number) external view returns (uint64);

    /// @notice Values of all parameters.
    function parameters() external view returns (uint64[] memory);

    /// @notice Upgrades that were decided: names and heights.
    function upgrades() external view returns (string[] memory names, uint64[] memory heights);
}

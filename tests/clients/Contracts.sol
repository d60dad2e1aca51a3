// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {Governor} from "@openzeppelin/contracts/governance/Governor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {GovernorCountingSimple} from "@openzeppelin/contracts/governance/extensions/GovernorCountingSimple.sol";
import {GovernorTimelockControl} from "@openzeppelin/contracts/governance/extensions/GovernorTimelockControl.sol";
import {GovernorVotes} from "@openzeppelin/contracts/governance/extensions/GovernorVotes.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {ProxyAdmin} from "@openzeppelin/contracts/proxy/transparent/ProxyAdmin.sol";
import {TransparentUpgradeableProxy} from "@openzeppelin/contracts/proxy/transparent/TransparentUpgradeableProxy.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit, Nonces} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721Enumerable} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Enumerable.sol";

contract Token is ERC20, ERC20Permit, ERC20Votes {
    constructor() ERC20("Ballot", "BLT") ERC20Permit("Ballot") {
        _mint(msg.sender, 1_000 ether);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Votes) {
        super._update(from, to, value);
    }

    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(owner);
    }
}

contract Art is ERC721Enumerable {
    constructor() ERC721("Art", "ART") {}

    function mint(address to, uint256 id) external {
        _safeMint(to, id);
    }

    function _baseURI() internal pure override returns (string memory) {
        return "ipfs://art/";
    }
}

contract Items is ERC1155("https://items/{id}.json") {
    function mint(address to, uint256[] calldata ids, uint256[] calldata amounts) external {
        _mintBatch(to, ids, amounts, "");
    }
}

contract Vault is AccessControl {
    bytes32 public constant KEEPER = keccak256("KEEPER");
    uint256 public limit;

    constructor() {
        _grantRole(DEFAULT_ADMIN_ROLE, msg.sender);
    }

    function setLimit(uint256 value) external onlyRole(KEEPER) {
        limit = value;
    }
}

contract Chooser is Governor, GovernorCountingSimple, GovernorVotes, GovernorTimelockControl {
    constructor(IVotes token, TimelockController timelock)
        Governor("Chooser") GovernorVotes(token) GovernorTimelockControl(timelock) {}

    function votingDelay() public pure override returns (uint256) {
        return 1;
    }

    function votingPeriod() public pure override returns (uint256) {
        return 16;
    }

    function quorum(uint256) public pure override returns (uint256) {
        return 100 ether;
    }

    function state(uint256 id) public view override(Governor, GovernorTimelockControl) returns (ProposalState) {
        return super.state(id);
    }

    function proposalNeedsQueuing(uint256 id) public view override(Governor, GovernorTimelockControl) returns (bool) {
        return super.proposalNeedsQueuing(id);
    }

    function _queueOperations(uint256 id, address[] memory to, uint256[] memory values, bytes[] memory data, bytes32 words)
        internal override(Governor, GovernorTimelockControl) returns (uint48)
    {
        return super._queueOperations(id, to, values, data, words);
    }

    function _executeOperations(uint256 id, address[] memory to, uint256[] memory values, bytes[] memory data, bytes32 words)
        internal override(Governor, GovernorTimelockControl)
    {
        super._executeOperations(id, to, values, data, words);
    }

    function _cancel(address[] memory to, uint256[] memory values, bytes[] memory data, bytes32 words)
        internal override(Governor, GovernorTimelockControl) returns (uint256)
    {
        return super._cancel(to, values, data, words);
    }

    function _executor() internal view override(Governor, GovernorTimelockControl) returns (address) {
        return super._executor();
    }
}

contract Box is Initializable, UUPSUpgradeable {
    error NotOwner(address caller);

    address public owner;
    uint256 public value;

    constructor() {
        _disableInitializers();
    }

    function initialize(address first, uint256 start) external virtual initializer {
        owner = first;
        value = start;
    }

    function _authorizeUpgrade(address) internal view override {
        require(msg.sender == owner, NotOwner(msg.sender));
    }
}

contract BoxV2 is Box {
    function double() external reinitializer(2) {
        value *= 2;
    }
}

contract Copies {
    event Copied(address indexed copy);

    function plain(address what) external {
        emit Copied(Clones.clone(what));
    }

    function at(address what, bytes32 salt) external {
        emit Copied(Clones.cloneDeterministic(what, salt));
    }

    function where(address what, bytes32 salt) external view returns (address) {
        return Clones.predictDeterministicAddress(what, salt);
    }

    function with(address what, bytes calldata words) external {
        emit Copied(Clones.cloneWithImmutableArgs(what, words));
    }

    function words(address copy) external view returns (bytes memory) {
        return Clones.fetchCloneArgs(copy);
    }
}

/// What can be cloned: it has no constructor and its initializer is open.
contract Cell is Initializable {
    uint256 public value;

    function initialize(uint256 start) external initializer {
        value = start;
    }
}

contract Failures {
    error Custom(address who, uint256[] numbers, string words);

    uint256 public counter;

    function custom() external {
        counter++;
        uint256[] memory numbers = new uint256[](2);
        (numbers[0], numbers[1]) = (7, 8);
        revert Custom(msg.sender, numbers, "with words");
    }

    function words() external {
        counter++;
        revert("plain words");
    }

    function silent() external {
        counter++;
        revert();
    }

    function panic(uint256 by) external {
        counter = 1 / by;
    }

    function broken() external {
        counter++;
        assembly { invalid() }
    }
}

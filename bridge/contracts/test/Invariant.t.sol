// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {PlainToken} from "../src/test-tokens/TestTokens.sol";
import {EvmGateway} from "../src/EvmGateway.sol";
import {IGateway} from "../src/IGateway.sol";
import {Base} from "./Base.sol";

/// Random deposits, certified withdrawals, claims, releases and time.
contract Traffic is Base {
    Set internal set;
    PlainToken public token;
    uint256 public deposited;
    uint256 public burned;
    uint256 public paid;
    Leaf[] internal leaves;
    bytes32[32][] internal proofs;
    address internal constant RECIPIENT = address(0xB0B);

    constructor() {
        vm.warp(1_800_000_000);
        set = makeSet(1, 4, 10);
        gateway = deploy(set);
        token = new PlainToken("Plain", "PLN", 18, 1e30);
        token.approve(address(gateway), type(uint256).max);
        mapToken(set, address(token), 1e20);
    }

    function gatewayAddress() external view returns (address) {
        return address(gateway);
    }

    function deposit(uint96 amount) external {
        EvmGateway(address(gateway)).deposit(address(token), amount, RECIPIENT);
        deposited += amount;
    }

    /// The ledger burns at most what was deposited.
    function withdraw(uint96 amount, uint96 fee) external {
        if (deposited == burned) return;
        uint256 part = uint256(amount) % (deposited - burned) + 1;
        Leaf memory a =
            Leaf(uint64(leaves.length), address(token), RECIPIENT, RECIPIENT, part, uint256(fee) % part);
        burned += part;
        leaves.push(a);
        // A chain of leaves: the new one and the root of those before it.
        bytes32[32] memory proof;
        bytes32[] memory all = new bytes32[](leaves.length);
        for (uint256 i; i < leaves.length; ++i) {
            all[i] = hashOf(leaves[i]);
        }
        proofs.push(proof);
        bytes32 root;
        for (uint256 i; i < leaves.length; ++i) {
            (root, proofs[i]) = prove(all, i);
        }
        submit(set, next(set, set.hash), dest(1, root, uint64(leaves.length)));
    }

    function prove(bytes32[] memory level, uint256 index)
        internal
        pure
        returns (bytes32 root, bytes32[32] memory proof)
    {
        for (uint256 height; height < 32; ++height) {
            bytes32 empty = zero(height);
            proof[height] = (index ^ 1) < level.length ? level[index ^ 1] : empty;
            bytes32[] memory up = new bytes32[]((level.length + 1) / 2);
            for (uint256 i; i < up.length; ++i) {
                bytes32 right = 2 * i + 1 < level.length ? level[2 * i + 1] : empty;
                up[i] = keccak256(abi.encode(level[2 * i], right));
            }
            level = up;
            index /= 2;
        }
        root = level[0];
    }

    function claimOne(uint256 pick) external {
        uint256 i = pick % leaves.length;
        uint256 before = token.balanceOf(address(gateway));
        claim(leaves[i], proofs[i]);
        paid += before - token.balanceOf(address(gateway));
    }

    function releaseOne(uint256 pick) external {
        uint256 before = token.balanceOf(address(gateway));
        gateway.release(1, uint64(pick % leaves.length));
        paid += before - token.balanceOf(address(gateway));
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + time % 6 hours);
    }
}

contract InvariantTest is Base {
    Traffic internal traffic;

    function setUp() public {
        traffic = new Traffic();
    }

    function targetContracts() external view returns (address[] memory list) {
        list = new address[](1);
        list[0] = address(traffic);
    }

    /// What is locked is what came in less what went out, it is there, and no more went out than was burned.
    function invariant_every_unit_is_accounted_for() public view {
        EvmGateway g = EvmGateway(traffic.gatewayAddress());
        (uint112 locked,,) = g.states(address(traffic.token()));
        eq(locked, traffic.deposited() - traffic.paid());
        eq(traffic.token().balanceOf(address(g)), locked);
        yes(traffic.paid() <= traffic.burned());
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {Commands} from "../src/Commands.sol";
import {IGateway} from "../src/IGateway.sol";
import {TronGateway} from "../src/TronGateway.sol";
import {Base, BatchVerifier} from "./Base.sol";

/// The gateway of TRON: signatures in batches of 16.
contract TronTest is Base {
    function setUpWith(uint256 members) internal returns (Set memory set) {
        vm.warp(1_800_000_000);
        set = makeSet(1, members, 10);
        gateway = wrap(address(new TronGateway(settings(), address(new BatchVerifier()))), set);
    }

    function test_checkpoints_in_batches() public {
        uint256[4] memory sizes = [uint256(4), 23, 24, 50];
        for (uint256 i; i < 4; ++i) {
            (seq, sideBlock) = (0, 0);
            Set memory set = setUpWith(sizes[i]);
            submit(set, next(set, set.hash), dest(1, keccak256("r"), 1));
            (uint64 count,) = gateway.tree(1);
            eq(count, 1);
        }
    }

    function testFuzz_every_bit_of_a_signature_counts(uint256 bit) public {
        Set memory set = setUpWith(24);
        IGateway.Checkpoint memory cp = next(set, set.hash);
        IGateway.Dest[] memory dests = dest(1, keccak256("r"), 1);
        bytes memory signatures = sign(set, digestOf(cp, dests), 17);
        bit %= signatures.length * 8;
        signatures[bit / 8] = bytes1(uint8(signatures[bit / 8]) ^ uint8(1 << (bit % 8)));
        vm.expectRevert();
        gateway.submitCheckpoint(cp, dests, set.encoded, signatures);
    }
}

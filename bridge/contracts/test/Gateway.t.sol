// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {BlacklistToken, FalseReturnToken, FeeToken, NoReturnToken, PlainToken} from "../src/test-tokens/TestTokens.sol";
import {Commands} from "../src/Commands.sol";
import {EvmGateway} from "../src/EvmGateway.sol";
import {IGateway} from "../src/IGateway.sol";
import {Base} from "./Base.sol";

contract Refuser {
    receive() external payable {
        revert("no");
    }
}

contract GatewayTest is Base {
    Set internal first;
    Set internal second;
    PlainToken internal token;
    address internal constant ALICE = address(0xA11CE);

    function setUp() public {
        vm.warp(1_800_000_000);
        Set memory a = makeSet(1, 4, 10);
        Set memory b = makeSet(2, 5, 7);
        first = a;
        second = b;
        gateway = deploy(a);
        token = new PlainToken("Plain", "PLN", 18, 1e34);
        token.approve(address(gateway), type(uint256).max);
        mapToken(a, address(token), 1e21);
        mapToken(a, NATIVE, 1e21);
        vm.deal(address(this), 1e24);
    }

    function counted() internal view returns (uint64 deposits) {
        (deposits,) = gateway.counters();
    }

    // Deposits.

    function test_deposits_have_gapless_numbers_and_a_running_hash() public {
        bytes32 before = EvmGateway(address(gateway)).depositAcc();
        EvmGateway(address(gateway)).deposit(address(token), 5, ALICE);
        EvmGateway(address(gateway)).depositNative{value: 7}(ALICE);
        eq(counted(), 2);
        yes(EvmGateway(address(gateway)).depositAcc() != before);
        (uint112 locked,,) = gateway.states(address(token));
        eq(locked, 5);
    }

    function test_funding_raises_what_can_be_paid_and_credits_nobody() public {
        EvmGateway g = EvmGateway(address(gateway));
        bytes32 before = g.depositAcc();
        PlainToken other = new PlainToken("Other", "OTH", 18, 1e20);
        other.approve(address(g), 1e20);
        // Before it is mapped: what circulates on BTTC from the beginning is locked first.
        g.fund(address(other), 7);
        g.fund{value: 9}(NATIVE, 9);
        (uint112 locked,,) = gateway.states(address(other));
        eq(locked, 7);
        (locked,,) = gateway.states(NATIVE);
        eq(locked, 9);
        eq(other.balanceOf(address(g)), 7);
        eq(address(g).balance, 9);
        eq(counted(), 0);
        yes(g.depositAcc() == before);
        vm.expectRevert(IGateway.TransferFailed.selector);
        g.fund{value: 1}(NATIVE, 2);
        vm.expectRevert(IGateway.TransferFailed.selector);
        g.fund{value: 1}(address(other), 1);
        vm.expectRevert(IGateway.TransferFailed.selector);
        g.fund(address(other), 1e21);
        FeeToken fee = new FeeToken("Fee", "FEE", 18, 1e20);
        fee.approve(address(g), 1e20);
        vm.expectPartialRevert(IGateway.FeeOnTransfer.selector);
        g.fund(address(fee), 1e18);
    }

    function test_deposits_that_are_refused() public {
        EvmGateway g = EvmGateway(address(gateway));
        PlainToken other = new PlainToken("Other", "OTH", 18, 1e20);
        other.approve(address(gateway), 1e20);
        vm.expectRevert(abi.encodeWithSelector(IGateway.NotMapped.selector, address(other)));
        g.deposit(address(other), 1, ALICE);
        vm.expectPartialRevert(IGateway.AmountTooSmall.selector);
        g.deposit(address(token), 0, ALICE);
        vm.expectPartialRevert(IGateway.ZeroAddress.selector);
        g.deposit(address(token), 1, address(0));
        vm.expectPartialRevert(IGateway.AmountTooLarge.selector);
        g.deposit(address(token), 52e32, ALICE);
        vm.expectRevert();
        g.deposit(address(0), 1, ALICE);
        vm.expectRevert(abi.encodeWithSelector(IGateway.NotMapped.selector, NATIVE));
        g.deposit(NATIVE, 1, ALICE);
        vm.warp(block.timestamp + 15 days);
        vm.expectPartialRevert(IGateway.SetExpired.selector);
        g.deposit(address(token), 1, ALICE);
    }

    function test_a_token_that_takes_a_fee_is_refused() public {
        FeeToken fee = new FeeToken("Fee", "FEE", 18, 1e20);
        fee.approve(address(gateway), 1e20);
        mapToken(first, address(fee), 1e18);
        vm.expectRevert(abi.encodeWithSelector(IGateway.FeeOnTransfer.selector, 1e10, 99e8));
        EvmGateway(address(gateway)).deposit(address(fee), 1e10, ALICE);
    }

    function test_tokens_that_return_nothing_or_false_go_both_ways() public {
        NoReturnToken none = new NoReturnToken("None", "NON", 6, 1e12);
        FalseReturnToken lies = new FalseReturnToken("False", "FLS", 6, 1e12);
        address[2] memory both = [address(none), address(lies)];
        Leaf[2] memory leaves;
        for (uint64 i; i < 2; ++i) {
            FalseReturnToken(both[i]).balanceOf(address(this));
            (bool ok,) = both[i].call(abi.encodeCall(IERC20.approve, (address(gateway), 1e12)));
            yes(ok);
            mapToken(first, both[i], 1e12);
            EvmGateway(address(gateway)).deposit(both[i], 1000, ALICE);
            leaves[i] = Leaf(i, both[i], ALICE, ALICE, 600, 0);
        }
        (bytes32 root, bytes32[32] memory a, bytes32[32] memory b) = twoLeaves(hashOf(leaves[0]), hashOf(leaves[1]));
        submit(first, next(first, first.hash), dest(1, root, 2));
        claim(leaves[0], a);
        claim(leaves[1], b);
        eq(none.balanceOf(ALICE), 600);
        eq(lies.balanceOf(ALICE), 600);
    }

    // Checkpoints.

    function plain() internal returns (IGateway.Checkpoint memory) {
        return next(first, first.hash);
    }

    function test_a_checkpoint_must_go_forward() public {
        bytes32 root = keccak256("root");
        submit(first, plain(), dest(1, root, 4));
        IGateway.Checkpoint memory cp = plain();
        cp.seq = 1;
        this.refused(first, cp, dest(1, root, 4), IGateway.BadSequence.selector);
        cp.seq = 10_002;
        this.refused(first, cp, dest(1, root, 4), IGateway.BadSequence.selector);
        cp.seq = 2;
        cp.lastBlock = 20;
        this.refused(first, cp, dest(1, root, 4), IGateway.BadCheckpoint.selector);
        cp.lastBlock = 40;
        cp.timestamp -= 1;
        this.refused(first, cp, dest(1, root, 4), IGateway.BadCheckpoint.selector);
        cp.timestamp += 602;
        this.refused(first, cp, dest(1, root, 4), IGateway.BadCheckpoint.selector);
        cp.timestamp = uint64(block.timestamp);
        this.refused(first, cp, dest(1, root, 3), IGateway.BadCheckpoint.selector);
        this.refused(first, cp, dest(1, keccak256("other"), 4), IGateway.BadCheckpoint.selector);
        this.refused(first, cp, dest(1, 0, 5), IGateway.BadCheckpoint.selector);
        cp.seq = 10_001;
        submit(first, cp, dest(1, root, 4));
        (uint64 count, bytes32 kept) = gateway.tree(1);
        eq(count, 4);
        eq(kept, root);
    }

    function refused(Set memory set, IGateway.Checkpoint memory cp, IGateway.Dest[] memory dests, bytes4 why) external {
        bytes memory signatures = sign(set, digestOf(cp, dests), enough(set));
        vm.expectPartialRevert(why);
        gateway.submitCheckpoint(cp, dests, set.encoded, signatures);
    }

    function test_two_thirds_are_not_enough() public {
        Set memory six = makeSet(9, 6, 1);
        gateway = deploy(six);
        IGateway.Checkpoint memory cp = next(six, six.hash);
        IGateway.Dest[] memory dests = dest(1, keccak256("r"), 1);
        bytes memory four = sign(six, digestOf(cp, dests), 4);
        vm.expectRevert(abi.encodeWithSelector(IGateway.TooLittlePower.selector, 4, 6));
        gateway.submitCheckpoint(cp, dests, six.encoded, four);
        bytes memory five = sign(six, digestOf(cp, dests), 5);
        gateway.submitCheckpoint(cp, dests, six.encoded, five);
    }

    function test_few_powerful_signers_are_not_enough() public {
        Set memory set = makeSet(9, 4, 1);
        set.powers[0] = 1000;
        set.encoded = abi.encodePacked(uint64(9), uint64(1003));
        for (uint256 i; i < 4; ++i) {
            set.encoded = abi.encodePacked(set.encoded, vm.addr(set.keys[i]), set.powers[i]);
        }
        gateway = deploy(set);
        set.hash = gateway.setHash();
        IGateway.Checkpoint memory cp = next(set, set.hash);
        IGateway.Dest[] memory dests = dest(1, keccak256("r"), 1);
        bytes memory two = sign(set, digestOf(cp, dests), 2);
        vm.expectRevert(abi.encodeWithSelector(IGateway.TooFewSigners.selector, 2, 3));
        gateway.submitCheckpoint(cp, dests, set.encoded, two);
    }

    /// Any bit of signatures, set or checkpoint.
    function testFuzz_every_bit_of_a_certificate_counts(uint256 bit, uint8 part) public {
        IGateway.Checkpoint memory cp = plain();
        IGateway.Dest[] memory dests = dest(1, keccak256("r"), 1);
        bytes memory set = first.encoded;
        bytes memory signatures = sign(first, digestOf(cp, dests), 3);
        if (part % 4 == 0) flip(signatures, bit);
        if (part % 4 == 1) flip(set, bit);
        if (part % 4 == 2) {
            bytes memory body = abi.encode(cp);
            flip(body, bit);
            if (overflows(body)) return;
            cp = abi.decode(body, (IGateway.Checkpoint));
        }
        if (part % 4 == 3) dests[0].withdrawalRoot = bytes32(uint256(dests[0].withdrawalRoot) ^ (1 << (bit % 256)));
        vm.expectRevert();
        gateway.submitCheckpoint(cp, dests, set, signatures);
    }

    function overflows(bytes memory body) internal pure returns (bool) {
        uint256[4] memory small = [uint256(0), 1, 3, 3];
        for (uint256 i; i < 3; ++i) {
            uint256 word;
            uint256 at = 32 + 32 * small[i];
            assembly {
                word := mload(add(body, at))
            }
            if (word >> 64 != 0) return true;
        }
        return false;
    }

    function flip(bytes memory data, uint256 bit) internal pure {
        bit %= data.length * 8;
        data[bit / 8] = bytes1(uint8(data[bit / 8]) ^ uint8(1 << (bit % 8)));
    }

    function test_a_signature_counts_once_and_has_one_form() public {
        IGateway.Checkpoint memory cp = plain();
        IGateway.Dest[] memory dests = dest(1, keccak256("r"), 1);
        bytes memory one = sign(first, digestOf(cp, dests), 1);
        bytes memory thrice = abi.encodePacked(one, one, one);
        vm.expectRevert(abi.encodeWithSelector(IGateway.BadSignature.selector, 1));
        gateway.submitCheckpoint(cp, dests, first.encoded, thrice);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(first.keys[2], digestOf(cp, dests));
        bytes memory high =
            abi.encodePacked(sign(first, digestOf(cp, dests), 2), uint8(2), r, ORDER - uint256(s), uint8(55 - v));
        vm.expectRevert(abi.encodeWithSelector(IGateway.BadSignature.selector, 2));
        gateway.submitCheckpoint(cp, dests, first.encoded, high);
        vm.expectPartialRevert(IGateway.TooLittlePower.selector);
        gateway.submitCheckpoint(cp, dests, first.encoded, "");
    }

    function test_sets_hand_over_with_overlap_and_expire() public {
        vm.warp(block.timestamp + 600);
        submit(first, next(first, second.hash), dest(1, keccak256("a"), 1));
        eq(gateway.setHash(), second.hash);
        // The old set still speaks for a day, but names no successor.
        submit(first, plain(), dest(1, keccak256("b"), 2));
        IGateway.Checkpoint memory again = next(first, keccak256("third"));
        this.refused(first, again, dest(1, keccak256("b"), 2), IGateway.UnknownSet.selector);
        vm.warp(block.timestamp + 1 days + 1);
        seq -= 1;
        this.refused(first, plain(), dest(1, keccak256("b"), 2), IGateway.UnknownSet.selector);
        seq -= 1;
        submit(second, next(second, second.hash), dest(1, keccak256("c"), 3));
        vm.warp(block.timestamp + 14 days);
        this.refused(second, next(second, second.hash), dest(1, keccak256("c"), 3), IGateway.SetExpired.selector);
    }

    function test_expiry_counts_from_the_side_chains_time() public {
        vm.warp(block.timestamp + 700);
        IGateway.Checkpoint memory late = next(first, second.hash);
        IGateway.Dest[] memory dests = dest(1, keccak256("a"), 1);
        vm.warp(block.timestamp + 10 days);
        submit(first, late, dests);
        (uint64 expiresAt,,,) = gateway.status();
        eq(expiresAt, late.timestamp + 14 days);
    }

    function test_rotations_have_a_distance() public {
        vm.warp(block.timestamp + 600);
        submit(first, next(first, second.hash), dest(1, keccak256("a"), 1));
        IGateway.Checkpoint memory cp = next(second, first.hash);
        this.refused(second, cp, dest(1, keccak256("a"), 1), IGateway.RotationTooEarly.selector);
        cp.nextSetHash = 0;
        vm.warp(block.timestamp + 600);
        this.refused(second, cp, dest(1, keccak256("a"), 1), IGateway.BadCheckpoint.selector);
    }

    function test_a_certificate_counts_at_no_other_gateway() public {
        IGateway.Checkpoint memory cp = plain();
        IGateway.Dest[] memory dests = dest(1, keccak256("r"), 1);
        bytes memory signatures = sign(first, digestOf(cp, dests), 3);
        Commands other = deploy(first);
        // Its roots are another gateway's: nothing changes but the number.
        other.submitCheckpoint(cp, dests, first.encoded, signatures);
        (uint64 count,) = other.tree(1);
        eq(count, 0);
        // Commands name their gateway.
        bytes memory payload = abi.encode(address(token), uint256(1), uint256(1));
        bytes memory signed = sign(first, commandDigest(1, 1, payload), 3);
        vm.expectRevert();
        other.execute(1, 1, payload, first.encoded, signed);
        vm.chainId(777);
        vm.expectRevert();
        gateway.execute(3, 1, payload, first.encoded, signed);
    }

    // Claims.

    function lockAndRoot(uint256 locked, Leaf memory a, Leaf memory b)
        internal
        returns (bytes32[32] memory proofA, bytes32[32] memory proofB)
    {
        EvmGateway(address(gateway)).deposit(address(token), locked, ALICE);
        EvmGateway(address(gateway)).depositNative{value: 1e21}(ALICE);
        bytes32 root;
        (root, proofA, proofB) = twoLeaves(hashOf(a), hashOf(b));
        submit(first, plain(), dest(1, root, 2));
    }

    function test_a_claim_pays_once_with_the_fee_to_whoever_brings_it() public {
        Leaf memory a = Leaf(0, address(token), ALICE, address(0xB0B), 1e18, 1e16);
        Leaf memory b = Leaf(1, NATIVE, ALICE, address(0xB0B), 1e18, 0);
        (bytes32[32] memory pa, bytes32[32] memory pb) = lockAndRoot(1e21, a, b);
        vm.prank(address(0xCA41));
        claim(a, pa);
        eq(token.balanceOf(address(0xB0B)), 99e16);
        eq(token.balanceOf(address(0xCA41)), 1e16);
        claim(b, pb);
        eq(address(0xB0B).balance, 1e18);
        vm.expectPartialRevert(IGateway.AlreadyClaimed.selector);
        gateway.claim(1, 0, a.token, a.sender, a.recipient, a.amount, a.fee, pa);
        yes(gateway.isClaimed(1, 0) && gateway.isClaimed(1, 1) && !gateway.isClaimed(1, 2));
    }

    function testFuzz_every_bit_of_a_claim_counts(uint256 bit, uint8 part) public {
        Leaf memory a = Leaf(0, address(token), ALICE, address(0xB0B), 1e18, 1e16);
        (bytes32[32] memory pa,) = lockAndRoot(1e21, a, Leaf(1, NATIVE, ALICE, ALICE, 1e18, 0));
        if (part % 7 == 0) pa[bit / 256 % 32] ^= bytes32(1 << (bit % 256));
        if (part % 7 == 1) a.amount ^= 1 << (bit % 256);
        if (part % 7 == 2) a.recipient = address(uint160(a.recipient) ^ uint160(1 << (bit % 160)));
        if (part % 7 == 3) a.sender = address(uint160(a.sender) ^ uint160(1 << (bit % 160)));
        if (part % 7 == 4) a.token = address(uint160(a.token) ^ uint160(1 << (bit % 160)));
        if (part % 7 == 5) a.fee ^= 1 << (bit % 256);
        if (part % 7 == 6) a.index ^= uint64(1 << (bit % 64));
        vm.expectRevert();
        gateway.claim(1, a.index, a.token, a.sender, a.recipient, a.amount, a.fee, pa);
    }

    function test_nothing_is_claimed_without_a_root() public {
        bytes32[32] memory empty;
        vm.expectRevert();
        gateway.claim(1, 0, address(token), ALICE, ALICE, 1, 0, empty);
        vm.expectRevert();
        gateway.claim(0, 0, address(0), address(0), address(0), 0, 0, empty);
    }

    function test_older_roots_count_for_a_while() public {
        Leaf memory a = Leaf(0, address(token), ALICE, address(0xB0B), 1e18, 0);
        Leaf memory b = Leaf(1, address(token), ALICE, address(0xB0B), 1e18, 0);
        (bytes32[32] memory pa, bytes32[32] memory pb) = lockAndRoot(1e21, a, b);
        for (uint64 i = 3; i < 66; ++i) {
            submit(first, plain(), dest(1, keccak256(abi.encode(i)), i));
        }
        claim(a, pa);
        submit(first, plain(), dest(1, keccak256("last"), 66));
        vm.expectPartialRevert(IGateway.UnknownRoot.selector);
        gateway.claim(1, 1, b.token, b.sender, b.recipient, b.amount, b.fee, pb);
    }

    function test_large_amounts_wait_and_buckets_bound_a_day() public {
        Leaf memory a = Leaf(0, address(token), ALICE, address(0xB0B), 3e23, 5);
        Leaf memory b = Leaf(1, address(token), ALICE, address(0xB0B), 1e21, 0);
        (bytes32[32] memory pa, bytes32[32] memory pb) = lockAndRoot(1e24, a, b);
        vm.prank(address(0xCA41));
        claim(a, pa);
        eq(token.balanceOf(address(0xB0B)), 0);
        vm.expectPartialRevert(IGateway.TooEarly.selector);
        gateway.release(1, 0);
        vm.warp(block.timestamp + 1 days);
        vm.prank(address(0xCA41));
        gateway.release(1, 0);
        // A tenth of what is locked, of which a quarter is kept for small ones.
        eq(token.balanceOf(address(0xB0B)) + token.balanceOf(address(0xCA41)), 75e21);
        eq(token.balanceOf(address(0xCA41)), 5);
        claim(b, pb);
        eq(token.balanceOf(address(0xB0B)), 75e21 - 5 + 1e21);
        for (uint256 i; i < 10 && gateway.pending(1, 0).remaining != 0; ++i) {
            vm.warp(block.timestamp + 1 days);
            gateway.release(1, 0);
        }
        eq(token.balanceOf(address(0xB0B)), 3e23 - 5 + 1e21);
        vm.expectPartialRevert(IGateway.NothingPending.selector);
        gateway.release(1, 0);
        (uint112 locked,,) = gateway.states(address(token));
        eq(locked, 1e24 - 3e23 - 1e21);
    }

    function test_more_than_was_deposited_is_never_paid() public {
        Leaf memory a = Leaf(0, address(token), ALICE, address(0xB0B), 2e20, 0);
        (bytes32[32] memory pa,) = lockAndRoot(1e20, a, Leaf(1, NATIVE, ALICE, ALICE, 1, 0));
        token.transfer(address(gateway), 1e21);
        vm.expectPartialRevert(IGateway.AmountTooLarge.selector);
        gateway.claim(1, 0, a.token, a.sender, a.recipient, a.amount, a.fee, pa);
    }

    function test_one_that_cannot_receive_does_not_stop_others() public {
        BlacklistToken black = new BlacklistToken("Black", "BLK", 18, 1e24);
        black.approve(address(gateway), 1e24);
        mapToken(first, address(black), 1e22);
        EvmGateway(address(gateway)).deposit(address(black), 1e20, ALICE);
        EvmGateway(address(gateway)).depositNative{value: 1e20}(ALICE);
        Refuser refuser = new Refuser();
        Leaf memory a = Leaf(0, address(black), ALICE, address(0xB0B), 1e18, 0);
        Leaf memory b = Leaf(1, NATIVE, ALICE, address(refuser), 1e18, 0);
        (bytes32 root, bytes32[32] memory pa, bytes32[32] memory pb) = twoLeaves(hashOf(a), hashOf(b));
        submit(first, plain(), dest(1, root, 2));
        black.refuse(address(0xB0B), true);
        vm.expectPartialRevert(IGateway.PayoutFailed.selector);
        gateway.claim(1, 0, a.token, a.sender, a.recipient, a.amount, a.fee, pa);
        vm.expectPartialRevert(IGateway.PayoutFailed.selector);
        gateway.claim(1, 1, b.token, b.sender, b.recipient, b.amount, b.fee, pb);
        // It stays claimable.
        black.refuse(address(0xB0B), false);
        claim(a, pa);
        eq(black.balanceOf(address(0xB0B)), 1e18);
    }

    // Who may do what.

    function test_a_pauser_can_only_pause() public {
        Leaf memory a = Leaf(0, address(token), ALICE, address(0xB0B), 1e18, 0);
        (bytes32[32] memory pa,) = lockAndRoot(1e21, a, Leaf(1, NATIVE, ALICE, ALICE, 1, 0));
        vm.expectPartialRevert(IGateway.NotAllowed.selector);
        gateway.pause();
        vm.prank(PAUSER);
        gateway.pause();
        vm.expectPartialRevert(IGateway.IsPaused.selector);
        gateway.claim(1, 0, a.token, a.sender, a.recipient, a.amount, a.fee, pa);
        vm.expectPartialRevert(IGateway.IsPaused.selector);
        EvmGateway(address(gateway)).deposit(address(token), 1, ALICE);
        // Hand-over goes on.
        vm.warp(block.timestamp + 600);
        submit(first, next(first, second.hash), dest(1, keccak256("x"), 3));
        vm.prank(PAUSER);
        vm.expectPartialRevert(IGateway.TooEarly.selector);
        gateway.pause();
        command(second, 5, "");
        claim(a, pa);
        command(second, 4, "");
        vm.expectPartialRevert(IGateway.IsPaused.selector);
        EvmGateway(address(gateway)).deposit(address(token), 1, ALICE);
    }

    function test_pauses_end_by_themselves() public {
        vm.prank(PAUSER);
        gateway.pause();
        vm.warp(block.timestamp + 72 hours);
        EvmGateway(address(gateway)).deposit(address(token), 1, ALICE);
    }

    function test_commands_come_in_order_and_once() public {
        bytes memory payload = abi.encode(address(token), uint256(5), uint256(6));
        bytes memory signed = sign(first, commandDigest(4, 3, payload), 3);
        vm.expectPartialRevert(IGateway.BadSequence.selector);
        gateway.execute(4, 3, payload, first.encoded, signed);
        command(first, 3, payload);
        signed = sign(first, commandDigest(3, 3, payload), 3);
        vm.expectPartialRevert(IGateway.BadSequence.selector);
        gateway.execute(3, 3, payload, first.encoded, signed);
        (uint112 floor, uint112 minimum, bool mapped) = gateway.tokens(address(token));
        yes(floor == 6 && minimum == 5 && mapped);
        command(first, 2, abi.encode(address(token)));
        vm.expectPartialRevert(IGateway.NotMapped.selector);
        EvmGateway(address(gateway)).deposit(address(token), 10, ALICE);
        commands += 1;
        payload = abi.encode(address(0x1234), uint256(1), uint256(1));
        signed = sign(first, commandDigest(commands, 1, payload), 3);
        // One that cannot be carried out has used its number.
        gateway.execute(commands, 1, payload, first.encoded, signed);
        (,, mapped) = gateway.tokens(address(0x1234));
        yes(!mapped);
        command(first, 5, "");
    }

    function test_a_frozen_gateway_is_not_upgraded_and_stands_still_after_recovery() public {
        address other = address(new EvmGateway(settings()));
        command(first, 6, abi.encode(other));
        test_conflicting_certificates_freeze();
        vm.warp(block.timestamp + 7 days);
        vm.expectPartialRevert(IGateway.IsFrozen.selector);
        gateway.finishUpgrade();
        vm.prank(address(0xBB01));
        gateway.approveRecovery(second.encoded, 50);
        vm.prank(address(0xBB02));
        gateway.approveRecovery(second.encoded, 50);
        vm.warp(block.timestamp + 14 days);
        gateway.finishRecovery();
        vm.expectPartialRevert(IGateway.BadCommand.selector);
        gateway.finishUpgrade();
        vm.expectPartialRevert(IGateway.IsPaused.selector);
        EvmGateway(address(gateway)).deposit(address(token), 1, ALICE);
        command(second, 5, "");
        EvmGateway(address(gateway)).deposit(address(token), 1, ALICE);
    }

    function test_a_gateway_that_is_deployed_late_begins_where_the_chain_is() public {
        seq = 70_000;
        submit(first, plain(), dest(1, keccak256("late"), 1));
    }

    function test_conflicting_certificates_freeze() public {
        IGateway.Checkpoint memory a = plain();
        IGateway.Checkpoint memory b = abi.decode(abi.encode(a), (IGateway.Checkpoint));
        b.lastBlockHash = keccak256("fork");
        IGateway.Dest[] memory dests = dest(1, keccak256("r"), 1);
        bytes memory sa = sign(first, digestOf(a, dests), 3);
        bytes memory sb = sign(first, digestOf(b, dests), 3);
        vm.expectPartialRevert(IGateway.NoConflict.selector);
        gateway.reportEquivocation(a, dests, first.encoded, sa, a, dests, first.encoded, sa);
        gateway.reportEquivocation(a, dests, first.encoded, sa, b, dests, first.encoded, sb);
        vm.expectPartialRevert(IGateway.IsFrozen.selector);
        EvmGateway(address(gateway)).deposit(address(token), 1, ALICE);
        // Hand-over goes on even so.
        vm.warp(block.timestamp + 600);
        submit(first, next(first, second.hash), dest(1, keccak256("x"), 3));
    }

    function test_time_and_counts_that_run_back_are_conflicts_and_equal_ones_are_not() public {
        IGateway.Dest[] memory four = dest(1, keccak256("4"), 4);
        IGateway.Dest[] memory three = dest(1, keccak256("3"), 3);
        IGateway.Checkpoint memory a = plain();
        IGateway.Checkpoint memory b = plain();
        bytes memory sa = sign(first, digestOf(a, four), 3);
        bytes memory sb = sign(first, digestOf(b, four), 3);
        vm.expectPartialRevert(IGateway.NoConflict.selector);
        gateway.reportEquivocation(a, four, first.encoded, sa, b, four, first.encoded, sb);
        sb = sign(first, digestOf(b, three), 3);
        gateway.reportEquivocation(a, four, first.encoded, sa, b, three, first.encoded, sb);
        (,,, bool frozen) = gateway.status();
        yes(frozen);
    }

    function test_recovery_takes_a_majority_time_and_a_lost_gateway() public {
        vm.prank(address(0xBB01));
        vm.expectPartialRevert(IGateway.NotAllowed.selector);
        gateway.approveRecovery(second.encoded, 0);
        vm.warp(block.timestamp + 14 days + 1);
        vm.expectPartialRevert(IGateway.NotAllowed.selector);
        gateway.approveRecovery(second.encoded, 0);
        vm.prank(address(0xBB01));
        gateway.approveRecovery(second.encoded, 50);
        vm.prank(address(0xBB01));
        vm.expectPartialRevert(IGateway.NotAllowed.selector);
        gateway.approveRecovery(second.encoded, 50);
        vm.expectPartialRevert(IGateway.NotAllowed.selector);
        gateway.finishRecovery();
        vm.prank(address(0xBB02));
        gateway.approveRecovery(second.encoded, 50);
        vm.expectPartialRevert(IGateway.TooEarly.selector);
        gateway.finishRecovery();
        vm.warp(block.timestamp + 14 days);
        gateway.finishRecovery();
        eq(gateway.setHash(), second.hash);
        seq = 50;
        submit(second, next(second, second.hash), dest(1, keccak256("c"), 3));
        vm.expectPartialRevert(IGateway.NotAllowed.selector);
        gateway.finishRecovery();
    }

    function test_upgrades_wait_and_keep_everything() public {
        EvmGateway(address(gateway)).deposit(address(token), 5, ALICE);
        address other = address(new EvmGateway(settings()));
        command(first, 6, abi.encode(other));
        vm.expectPartialRevert(IGateway.TooEarly.selector);
        gateway.finishUpgrade();
        vm.warp(block.timestamp + 7 days);
        gateway.finishUpgrade();
        eq(counted(), 1);
        EvmGateway(address(gateway)).deposit(address(token), 5, ALICE);
        vm.expectPartialRevert(IGateway.BadCommand.selector);
        gateway.finishUpgrade();
    }

    function test_implementations_and_gateways_are_initialized_once() public {
        address[] memory nobody = new address[](0);
        address[] memory one = new address[](1);
        one[0] = ALICE;
        Commands bare = Commands(address(new EvmGateway(settings())));
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        bare.initialize(first.encoded, uint64(block.timestamp), nobody, one, 1);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        gateway.initialize(second.encoded, uint64(block.timestamp), nobody, one, 1);
    }

    function test_settings_and_sets_that_make_no_sense_are_refused() public {
        IGateway.Settings memory s = settings();
        s.bridgeId = 0;
        vm.expectPartialRevert(IGateway.BadSettings.selector);
        new EvmGateway(s);
        s = settings();
        s.expiry = s.overlap;
        vm.expectPartialRevert(IGateway.BadSettings.selector);
        new EvmGateway(s);
        Set memory bad = makeSet(3, 2, 5);
        vm.expectRevert();
        this.deployOutside(bad);
        bad = makeSet(3, 4, 0);
        vm.expectRevert();
        this.deployOutside(bad);
    }

    function deployOutside(Set memory set) external {
        deploy(set);
    }
}

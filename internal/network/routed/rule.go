package routed

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is what nftables does with a packet, step by step, until one doesn't
// match. Values are in register 1; keys of more parts begin at firstPart, the
// first of 16 registers of 4 bytes.
type rule []expr.Any

const (
	register  = unix.NFT_REG_1
	firstPart = unix.NFT_REG32_00
)

// on joins conditions and what is done about them.
func on(parts ...rule) rule {
	var r rule
	for _, p := range parts {
		r = append(r, p...)
	}
	return r
}

func load(e expr.Any, op expr.CmpOp, data ...byte) rule {
	return rule{e, &expr.Cmp{Op: op, Register: register, Data: data}}
}

func meta(key expr.MetaKey) *expr.Meta { return &expr.Meta{Key: key, Register: register} }

func payload(base expr.PayloadBase, offset, length uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

// Fields of packets, by where they are in the headers.
const (
	ll = expr.PayloadBaseLLHeader
	nh = expr.PayloadBaseNetworkHeader
	th = expr.PayloadBaseTransportHeader
)

func field(base expr.PayloadBase, offset int, data ...byte) rule {
	return load(payload(base, uint32(offset), uint32(len(data))), expr.CmpOpEq, data...) //nolint:gosec // offsets of headers
}

// notField matches packets whose network header is another one there.
func notField(offset int, data ...byte) rule {
	return load(payload(nh, uint32(offset), uint32(len(data))), expr.CmpOpNeq, data...) //nolint:gosec // offsets of headers
}

// bits matches a field of which some bits are as in value.
func bits(e expr.Any, op expr.CmpOp, mask, value []byte) rule {
	return rule{
		e, &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))},
		&expr.Cmp{Op: op, Register: register, Data: value},
	}
}

// inPrefix matches an address at an offset of the network header.
func inPrefix(offset uint32, p netip.Prefix) rule {
	a := p.Masked().Addr().AsSlice()
	mask := make([]byte, len(a))
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return bits(payload(nh, offset, uint32(len(a))), expr.CmpOpEq, mask, a)
}

var (
	ipv4 = load(meta(expr.MetaKeyNFPROTO), expr.CmpOpEq, unix.NFPROTO_IPV4)
	ipv6 = load(meta(expr.MetaKeyNFPROTO), expr.CmpOpEq, unix.NFPROTO_IPV6)

	fromTap = load(meta(expr.MetaKeyIIFNAME), expr.CmpOpEq, []byte(tapPrefix)...)
	toTap   = load(meta(expr.MetaKeyOIFNAME), expr.CmpOpEq, []byte(tapPrefix)...)
	notTap  = load(meta(expr.MetaKeyOIFNAME), expr.CmpOpNeq, []byte(tapPrefix)...)

	accept  = rule{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}}
	drop    = rule{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
	goBack  = rule{&expr.Verdict{Kind: expr.VerdictReturn}}
	isCut   = ctBits(expr.CtKeyMARK, cutMark)
	known   = ctBits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
	invalid = ctBits(expr.CtKeySTATE, expr.CtStateBitINVALID)
	// A connection begins with SYN alone. Conntrack takes up one that it doesn't
	// know in the middle, which would bring back those that were cut.
	midway = on(protocol(unix.IPPROTO_TCP), bits(payload(th, 13, 1), expr.CmpOpNeq, []byte{0x17}, []byte{0x02}))
)

func jump(chain string) rule { return rule{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }

func protocol(p byte) rule { return load(meta(expr.MetaKeyL4PROTO), expr.CmpOpEq, p) }

func name(key expr.MetaKey, op expr.CmpOp, s string) rule { return load(meta(key), op, ifname(s)...) }

// ctBits matches connections of which one of the bits is set.
func ctBits(key expr.CtKey, set uint32) rule {
	zero := make([]byte, 4)
	return bits(&expr.Ct{Key: key, Register: register}, expr.CmpOpNeq, binaryutil.NativeEndian.PutUint32(set), zero)
}

// part is a piece of a key, and how many registers it takes.
type part struct {
	load  func(register uint32) expr.Any
	bytes uint32
}

func metaPart(key expr.MetaKey, bytes uint32) part {
	return part{func(r uint32) expr.Any { return &expr.Meta{Key: key, Register: r} }, bytes}
}

func fieldPart(base expr.PayloadBase, offset, bytes uint32) part {
	return part{func(r uint32) expr.Any { return &expr.Payload{DestRegister: r, Base: base, Offset: offset, Len: bytes} }, bytes}
}

// in matches packets whose parts together are an element of a set.
func in(set *nftables.Set, parts ...part) rule { return lookup(set, false, parts) }

func notIn(set *nftables.Set, parts ...part) rule { return lookup(set, true, parts) }

func lookup(set *nftables.Set, invert bool, parts []part) rule {
	var r rule
	at := uint32(firstPart)
	for _, p := range parts {
		r = append(r, p.load(at))
		at += (p.bytes + 3) / 4
	}
	return append(r, &expr.Lookup{SourceRegister: firstPart, SetName: set.Name, SetID: set.ID, Invert: invert})
}

// ifname is the name of an interface as a key has it.
func ifname(s string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, s)
	return b
}

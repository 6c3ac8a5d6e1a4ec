package ledger

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Hash is the seal of an entry in printable form, "" before the first entry.
type Hash string

// Standing is an account as it stands after its last entry.
type Standing struct {
	Amount money.Amount
	Head   Hash // of the last entry
}

// Sealed is an entry with its seal.
type Sealed struct {
	Entry
	// Hash covers the entry and the last hashes of both of its accounts: it
	// stands in the chain of each, so that no entry can be changed, left out or
	// moved without every later one of its accounts showing it.
	Hash Hash
}

// Seal returns an entry with its seal, behind the last entries of its accounts.
func Seal(e Entry, from, to Hash) Sealed {
	b := make([]byte, 0, 512)
	for _, text := range [...]string{string(from), string(to), e.Key, string(e.Kind), string(e.From), string(e.To), e.VM, e.Reason} {
		b = append(number(b, int64(len(text))), text...)
	}
	b = number(number(number(b, e.At.UnixMicro()), int64(e.Amount)), e.Epoch)
	if e.Actor != "" { // entries from before there were actors keep their seals
		b = append(number(b, int64(len(e.Actor))), e.Actor...)
	}
	sum := sha256.Sum256(b)
	return Sealed{e, Hash(base64.RawStdEncoding.EncodeToString(sum[:]))}
}

func number(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // the bits are what counts
}

// Most is what an account can hold, and how far external can be below zero: less
// than a database adds up without an overflow.
const Most money.Amount = 9_000_000_000_000 * money.USDC

// Sheet is accounts as they stand, on which entries are posted in memory. Its
// zero value knows no account.
type Sheet struct {
	standings map[Account]Standing
	posted    []Sealed
	touched   []Account // in the order of their first entry
	moved     map[Account]bool
}

// Know says how an account stands. One that the sheet knows is left as it is.
func (s *Sheet) Know(a Account, standing Standing) {
	if s.standings == nil {
		s.standings = map[Account]Standing{}
	}
	if _, known := s.standings[a]; !known {
		s.standings[a] = standing
	}
}

// Standing returns how an account stands; ok is false for one that the sheet
// does not know.
func (s *Sheet) Standing(a Account) (standing Standing, ok bool) {
	standing, ok = s.standings[a]
	return standing, ok
}

// Holds returns what an account holds, 0 for one that the sheet does not know.
func (s *Sheet) Holds(a Account) money.Amount { return s.standings[a].Amount }

// Post moves an entry's amount and seals it. Returns an Unaffordable fault when
// the account it comes from holds less, and an Internal one for an entry that
// must never be written, or whose accounts the sheet does not know.
func (s *Sheet) Post(e Entry) error {
	if err := e.Check(); err != nil {
		return err
	}
	if (e.Kind == Charge || e.Kind == Return) && e.Customer == "" {
		return fault.Newf(fault.Internal, "entry %s names no customer", e.Key)
	}
	from, knownFrom := s.standings[e.From]
	to, knownTo := s.standings[e.To]
	if !knownFrom || !knownTo {
		return fault.Newf(fault.Internal, "entry %s is posted on a sheet without %s or %s", e.Key, e.From, e.To)
	}
	if from.Amount < e.Amount && !e.From.MayOwe() {
		return fault.Newf(fault.Unaffordable, "the balance is smaller than %s USDC", e.Amount)
	}
	if e.Amount > Most || to.Amount > Most-e.Amount || from.Amount < e.Amount-Most {
		return fault.Newf(fault.Invalid, "%s USDC are more than an account can hold", e.Amount)
	}
	sealed := Seal(e, from.Head, to.Head)
	s.put(e.From, Standing{from.Amount - e.Amount, sealed.Hash})
	s.put(e.To, Standing{to.Amount + e.Amount, sealed.Hash})
	s.posted = append(s.posted, sealed)
	return nil
}

func (s *Sheet) put(a Account, standing Standing) {
	if s.moved == nil {
		s.moved = map[Account]bool{}
	}
	if !s.moved[a] {
		s.moved[a] = true
		s.touched = append(s.touched, a)
	}
	s.standings[a] = standing
}

// Take returns what was posted since the last Take, and the accounts that were
// touched and not taken yet.
func (s *Sheet) Take() (posted []Sealed, touched []Account) {
	return s.TakeBut(func(Account) bool { return false })
}

// TakeBut is Take without the touched accounts that wait is true for: they are
// left for another time.
func (s *Sheet) TakeBut(wait func(Account) bool) (posted []Sealed, touched []Account) {
	posted, s.posted = s.posted, nil
	var left []Account
	for _, a := range s.touched {
		if wait(a) {
			left = append(left, a)
			continue
		}
		touched = append(touched, a)
		delete(s.moved, a)
	}
	s.touched = left
	return posted, touched
}

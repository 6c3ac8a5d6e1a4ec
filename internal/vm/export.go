package vm

import (
	"log/slog"
	"strings"
	"time"
)

// Export is a snapshot that is kept in the operator's store, outside of every
// server. It outlives the VM, the server and the snapshot that it was made of.
type Export struct {
	ID         string // exp_ and 26 characters
	AccountID  string
	VMID       string // of the VM whose snapshot it is
	VMName     string // as it was called then
	SnapshotID string
	RequestID  string // of the request that asked for it, "" for none

	State  ExportState
	Reason string // why it failed, and what to do; "" for one that did not

	Image      string // that the VM was made of
	StorageGiB int64  // of the disk: a VM that is made of it has as many at least
	Bytes      int64  // of the snapshot's file
	SHA256     string // of the snapshot's file, 64 hex digits
	Through    int64  // bytes of the file that are in the store by now, or need not be

	Recipient string // what its objects are encrypted to
	Identity  []byte // what they are decrypted with, sealed with its account's key
	Manifest  string // checksum of its manifest, 64 hex digits; "" before its agent has stored all of it
	Sealed    int64  // bytes in the store, once it is Done

	Begun     time.Time
	Deadline  time.Time // when it is given up, unless it gets on before
	Ended     time.Time // when it was Done or Failed; zero before
	LinkUntil time.Time // until when a link for an agent to store an object of it may be good
}

// ExportState is how far an export is.
type ExportState string

// The states.
const (
	Uploading ExportState = "uploading" // its agent stores it; control moves it on
	Exported  ExportState = "done"      // all of it is in the store, and was looked for there
	Unusable  ExportState = "failed"    // what is in the store of it is removed
	Deleting  ExportState = "deleting"  // its customer doesn't want it; what is in the store is removed, and then it is gone
)

// ExportStates are all there are.
var ExportStates = []ExportState{Uploading, Exported, Unusable, Deleting}

const exportPrefix = "exp_"

// IsExport reports whether an id is one of an export, and not of a snapshot on a server.
func IsExport(id string) bool { return strings.HasPrefix(id, exportPrefix) }

// ExportWish asks an agent to store a snapshot of a VM. It is asked for until it is
// done, or given up.
type ExportWish struct {
	ID        string `json:"id"`
	Snapshot  string `json:"snapshot"`
	Recipient string `json:"recipient"` // what it is encrypted to: no secret
	Bytes     int64  `json:"bytes"`     // of the snapshot's file
	SHA256    string `json:"sha256"`    // of the snapshot's file
}

// ExportSeen is how far an agent is with one.
type ExportSeen struct {
	ID       string `json:"id"`
	Through  int64  `json:"through"`            // bytes of the snapshot's file
	Manifest string `json:"manifest,omitempty"` // checksum of the manifest, which is stored last; "" before
	Reason   string `json:"reason,omitempty"`   // what it waits for, or why it failed
	Failed   bool   `json:"failed,omitempty"`   // trying again is of no use
}

// Errand is an agent's request for what it needs to store an object of an export, or
// to fetch one. It is never part of an order: what it is answered with is secret.
type Errand struct {
	VM     string `json:"vm"`     // by its server's id of it
	Export string `json:"export"` // that its order names
	Name   string `json:"name"`   // of the object
	// Bytes and MD5 are of the object that is to be stored; zero to fetch one.
	Bytes int64  `json:"bytes,omitempty"`
	MD5   []byte `json:"md5,omitempty"`
}

// Stores reports whether an object is to be stored.
func (e Errand) Stores() bool { return len(e.MD5) > 0 }

// Pass answers an errand.
type Pass struct {
	Link string `json:"link"` // good for one object, for a while: a secret
	// What a file is made of again with; zero for one who stores.
	Identity string `json:"identity,omitempty"` // what it is decrypted with: a secret
	Manifest string `json:"manifest,omitempty"`
	Bytes    int64  `json:"bytes,omitempty"`
	SHA256   string `json:"sha256,omitempty"`
}

// LogValue keeps the secrets out of logs.
func (p Pass) LogValue() slog.Value { return slog.StringValue(p.String()) }

// String keeps the secrets out of texts.
func (Pass) String() string { return "pass to an export" }

// GoString keeps the secrets out of texts, too.
func (p Pass) GoString() string { return p.String() }

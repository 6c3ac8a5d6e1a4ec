package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

const (
	indexName = "index.json"
	indexTemp = "index.json" + tempSuffix
)

// entry is what the cache remembers of one URL.
type entry struct {
	URL          string    `json:"url"` // redacted, for the operator
	Digest       string    `json:"digest"`
	Format       format    `json:"format"`            // of what was fetched
	Bytes        int64     `json:"bytes"`             // that were fetched
	VirtualBytes int64     `json:"virtual_bytes"`     // size of the disk, and of the file
	Sum          string    `json:"sum,omitempty"`     // SHA-256 of what was fetched, as it came, in hex
	Private      bool      `json:"private,omitempty"` // for the tenant alone who fetched it
	FetchedAt    time.Time `json:"fetched_at"`
	UsedAt       time.Time `json:"used_at,omitzero"` // when Get last returned it, as of the last save
	ETag         string    `json:"etag,omitempty"`
}

// index is what is remembered, by keyOf the URL.
type index map[string]entry

// nameOf is the file that holds the disk with digest.
func nameOf(digest string) string { return "sha256-" + digest + ".raw" }

// errIndex says that the index can't be understood.
var errIndex = errors.New("damaged index")

// loadIndex reads the index and forgets entries whose file isn't there whole.
func loadIndex(root *os.Root) (index, error) {
	ix := index{}
	text, err := root.ReadFile(indexName)
	if errors.Is(err, fs.ErrNotExist) {
		return ix, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	if err := json.Unmarshal(text, &ix); err != nil || ix == nil {
		return index{}, errIndex
	}
	for k, e := range ix {
		if !e.present(root) {
			delete(ix, k)
		}
	}
	return ix, nil
}

// present reports whether the file of e is there, as it was written.
func (e entry) present(root *os.Root) bool {
	if sum, err := hex.DecodeString(e.Digest); err != nil || len(sum) != sha256.Size {
		return false
	}
	info, err := root.Lstat(nameOf(e.Digest))
	return err == nil && info.Mode().IsRegular() && info.Size() == e.VirtualBytes
}

// save replaces the index on the disk at once.
func (ix index) save(root *os.Root) error {
	text, err := json.MarshalIndent(ix, "", "  ")
	if err != nil {
		return fmt.Errorf("encode image index: %w", err)
	}
	f, err := root.OpenFile(indexTemp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write image index: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(indexTemp, indexName)
	}
	if err != nil {
		return fmt.Errorf("write image index: %w", err)
	}
	return syncDir(root)
}

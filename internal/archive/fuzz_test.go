package archive_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"filippo.io/age"

	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// Whatever is in the place of a manifest: it is read as one that can be meant, or refused.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"export":"exp_1","content":"qcow2","bytes":5,"chunk_bytes":16777216,"chunks":[]}`))
	f.Add([]byte(`{"format":1,"export":"exp_1","content":"qcow2","bytes":33554432,"chunk_bytes":16777216,"chunks":[{"number":1,"bytes":9,"sha256":"` + sum(nil) + `"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		digest := sha256.Sum256(text)
		m, err := archive.ReadManifest(bytes.NewReader(text), exportID, hex.EncodeToString(digest[:]))
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v, want an Invalid fault", err)
			}
			return
		}
		for _, c := range m.Chunks {
			if !archive.ValidName(c.Name()) || c.Bytes > archive.MostObject(m.ChunkBytes) {
				t.Errorf("chunk %+v of %q", c, text)
			}
		}
		if m.Bytes > archive.MaxBytes || m.Export != exportID {
			t.Errorf("%+v of %q", m, text)
		}
	})
}

// Whatever is sealed as a chunk by who has the key: no more than the chunk comes out, and
// what comes out is what the whole's checksum says, or nothing.
func FuzzChunk(f *testing.F) {
	keys, err := archive.NewKeys()
	if err != nil {
		f.Fatal(err)
	}
	recipient, err := age.ParseX25519Recipient(keys.Recipient)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, true)
	f.Add([]byte("\x28\xb5\x2f\xfd\x04\x00\x29\x00\x00hello"), true)
	f.Add([]byte("age-encryption.org/v1\n-> X25519 "), false)
	f.Fuzz(func(t *testing.T, content []byte, sealed bool) {
		object := content
		if sealed {
			var out bytes.Buffer
			w, err := age.Encrypt(&out, recipient)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			object = out.Bytes()
		}
		var out bytes.Buffer
		err := archive.Open(&out, bytes.NewReader(object), keys.Identity, 5)
		if err == nil && out.Len() != 5 || out.Len() > 6 || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%d bytes came out, %v", out.Len(), err)
		}
	})
}

package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/fault"
)

const (
	mib      = 1 << 20
	chunk    = 16 * mib
	exportID = "exp_1"
)

// shelf is a depot in memory.
type shelf struct {
	objects map[string][]byte
	puts    []string
	broken  func(name string) error
}

func (s *shelf) Put(_ context.Context, o archive.Object, body io.ReadSeeker) error {
	if s.broken != nil {
		if err := s.broken(o.Name); err != nil {
			return err
		}
	}
	text, err := io.ReadAll(body)
	if err == nil && int64(len(text)) != o.Bytes {
		err = fmt.Errorf("%s has %d bytes, not %d", o.Name, len(text), o.Bytes)
	}
	s.objects[o.Name] = text
	s.puts = append(s.puts, o.Name)
	return err
}

func (s *shelf) Get(_ context.Context, name string) (io.ReadCloser, error) {
	text, ok := s.objects[name]
	if !ok {
		return nil, fault.New(fault.NotFound, "no such object")
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

// snapshot is a file with something in its first chunk and its last one, which is
// no whole one, and nothing in between.
func snapshot() []byte { return fileOf(3*chunk + 4321) }

func fileOf(size int) []byte {
	file := make([]byte, size)
	noise := rand.NewChaCha8([32]byte{7})
	_, _ = noise.Read(file[:2*mib])
	copy(file[2*mib:], strings.Repeat("plain text of a customer\n", 1000))
	copy(file[len(file)-3000:], strings.Repeat("more plain text\n", 100))
	copy(file[len(file)-5:], "the end")
	return file
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func keys(t *testing.T) archive.Keys {
	t.Helper()
	k, err := archive.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func file(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// export returns what stores file on the shelf.
func export(t *testing.T, s *shelf, plain []byte, recipient string) archive.Export {
	t.Helper()
	return archive.Export{
		ID: exportID, Source: bytes.NewReader(plain), Bytes: int64(len(plain)), SHA256: sum(plain), Recipient: recipient, Depot: s, Spool: file(t),
		Done: map[int]archive.Chunk{}, Kept: func(archive.Chunk) error { return nil }, Progress: func(int64) {},
	}
}

// restore returns what makes the file again, and where.
func restore(t *testing.T, s *shelf, manifest string, plain []byte, identity string) archive.Import {
	t.Helper()
	return archive.Import{
		ID: exportID, Manifest: manifest, Bytes: int64(len(plain)), SHA256: sum(plain), Identity: identity, Depot: s, Spool: file(t), Target: file(t),
		Done: map[int]bool{}, Kept: func(int) error { return nil }, Progress: func(int64) {},
	}
}

func TestThereAndBack(t *testing.T) {
	t.Parallel()
	plain, s, k := snapshot(), &shelf{objects: map[string][]byte{}}, keys(t)
	e := export(t, s, plain, k.Recipient)
	var through []int64
	e.Progress = func(n int64) { through = append(through, n) }
	m, manifest, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := []int64{chunk, 2 * chunk, 3 * chunk, int64(len(plain))}; !slices.Equal(through, want) {
		t.Errorf("progress %v, want %v", through, want)
	}
	if got := []int{m.Chunks[0].Number, m.Chunks[1].Number}; len(m.Chunks) != 2 || got[0] != 0 || got[1] != 3 {
		t.Errorf("chunks %v, want those that have something in them: 0 and 3", m.Chunks)
	}
	if m.Sealed() > 3*mib {
		t.Errorf("takes %d bytes, want little more than the 2 MiB of noise", m.Sealed())
	}
	if last := s.puts[len(s.puts)-1]; last != archive.ManifestName || len(s.objects) != 3 {
		t.Errorf("stored %v, want two chunks and the manifest at the end", s.puts)
	}
	for name, object := range s.objects {
		if bytes.Contains(object, []byte("plain text")) || bytes.Contains(object, plain[100:164]) || bytes.Contains(object, []byte(sum(plain))) {
			t.Errorf("%s tells what is in the snapshot", name)
		}
		if !archive.ValidName(name) {
			t.Errorf("%s is no valid name", name)
		}
	}
	i := restore(t, s, manifest, plain, k.Identity)
	if err := i.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(i.Target.Name())
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("another file came back (%v)", err)
	}
}

// Whoever has the key can read an export with age and zstd alone.
func TestReadableWithoutThisProgram(t *testing.T) {
	t.Parallel()
	plain, s, k := fileOf(chunk+1), &shelf{objects: map[string][]byte{}}, keys(t)
	m, _, err := export(t, s, plain, k.Recipient).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	identity, err := age.ParseX25519Identity(k.Identity)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := age.Decrypt(bytes.NewReader(s.objects[m.Chunks[0].Name()]), identity)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(sealed)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, plain[:chunk]) {
		t.Errorf("got %d other bytes (%v)", len(got), err)
	}
}

// An export that breaks off goes on with what is there.
func TestExportGoesOn(t *testing.T) {
	t.Parallel()
	plain, s, k := snapshot(), &shelf{objects: map[string][]byte{}}, keys(t)
	down := errors.New("the line is down")
	done := map[int]archive.Chunk{}
	e := export(t, s, plain, k.Recipient)
	e.Kept = func(c archive.Chunk) error { done[c.Number] = c; return nil }
	s.broken = func(name string) error {
		if strings.HasPrefix(name, "00003-") {
			return down
		}
		return nil
	}
	if _, _, err := e.Run(t.Context()); !errors.Is(err, down) {
		t.Fatalf("got %v, want that the line is down", err)
	}
	if _, there := s.objects[archive.ManifestName]; there {
		t.Error("a half export has a manifest")
	}
	first := slices.Collect(maps.Keys(s.objects))
	s.broken, s.puts = nil, nil
	e = export(t, s, plain, k.Recipient)
	e.Done = done
	_, manifest, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.puts) != 2 || slices.Contains(s.puts, first[0]) {
		t.Errorf("stored %v, though %v was there", s.puts, first)
	}
	if err := restore(t, s, manifest, plain, k.Identity).Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// A snapshot that has rotted is not exported: nobody could import it.
func TestRottenSnapshot(t *testing.T) {
	t.Parallel()
	plain, s, k := snapshot(), &shelf{objects: map[string][]byte{}}, keys(t)
	e := export(t, s, plain, k.Recipient)
	e.SHA256 = sum(plain[1:])
	if _, _, err := e.Run(t.Context()); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v, want an Invalid fault", err)
	}
	if _, there := s.objects[archive.ManifestName]; there {
		t.Error("it has a manifest")
	}
}

// flipped is b with one bit changed in its middle.
func flipped(b []byte) []byte {
	b = slices.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

// Whatever is done to what is stored, it is found out.
func TestTamperedExport(t *testing.T) {
	t.Parallel()
	plain, s, k := fileOf(chunk+4321), &shelf{objects: map[string][]byte{}}, keys(t)
	m, manifest, err := export(t, s, plain, k.Recipient).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first, last := m.Chunks[0].Name(), m.Chunks[1].Name()
	other := &shelf{objects: map[string][]byte{}} // of another account, with the same content
	om, _, err := export(t, other, plain, keys(t).Recipient).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string][]byte){
		"a byte of a chunk":    func(o map[string][]byte) { o[first] = flipped(o[first]) },
		"a byte of the last":   func(o map[string][]byte) { o[last] = flipped(o[last]) },
		"a chunk cut short":    func(o map[string][]byte) { o[first] = o[first][:len(o[first])-1] },
		"a chunk cut at once":  func(o map[string][]byte) { o[first] = nil },
		"a chunk with more":    func(o map[string][]byte) { o[first] = append(slices.Clone(o[first]), 'x') },
		"chunks swapped":       func(o map[string][]byte) { o[first], o[last] = o[last], o[first] },
		"another's chunk":      func(o map[string][]byte) { o[first] = other.objects[om.Chunks[0].Name()] },
		"a byte of the list":   func(o map[string][]byte) { o[archive.ManifestName] = flipped(o[archive.ManifestName]) },
		"another's list":       func(o map[string][]byte) { o[archive.ManifestName] = other.objects[archive.ManifestName] },
		"a list without a row": func(o map[string][]byte) { o[archive.ManifestName] = without(t, o[archive.ManifestName]) },
		"an endless list":      func(o map[string][]byte) { o[archive.ManifestName] = bytes.Repeat([]byte(" "), 5*mib) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := &shelf{objects: maps.Clone(s.objects)}
			change(changed.objects)
			if err := restore(t, changed, manifest, plain, k.Identity).Run(t.Context()); !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v, want an Invalid fault", err)
			}
		})
	}
}

func without(t *testing.T, text []byte) []byte {
	t.Helper()
	var m archive.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	m.Chunks = m.Chunks[1:]
	text, _, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Who changes a chunk together with the manifest is stopped by the encryption, and
// who has the key by the checksum of the whole.
func TestForgedExport(t *testing.T) {
	t.Parallel()
	plain, s, k := fileOf(chunk+4321), &shelf{objects: map[string][]byte{}}, keys(t)
	m, _, err := export(t, s, plain, k.Recipient).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	forge := func(number int, object []byte) (*shelf, string) {
		forged := &shelf{objects: maps.Clone(s.objects)}
		fm := m
		fm.Chunks = slices.Clone(m.Chunks)
		fm.Chunks[number].Bytes, fm.Chunks[number].SHA256 = int64(len(object)), sum(object)
		text, manifest, err := fm.Encode()
		if err != nil {
			t.Fatal(err)
		}
		forged.objects[archive.ManifestName], forged.objects[fm.Chunks[number].Name()] = text, object
		return forged, manifest
	}
	other := &shelf{objects: map[string][]byte{}}
	om, _, err := export(t, other, plain, keys(t).Recipient).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	changed := slices.Clone(plain)
	changed[10]++
	same := &shelf{objects: map[string][]byte{}}
	sm, _, err := export(t, same, changed, k.Recipient).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, object := range map[string][]byte{
		"another byte":       flipped(s.objects[m.Chunks[0].Name()]),
		"for another key":    other.objects[om.Chunks[0].Name()],
		"by who has the key": same.objects[sm.Chunks[0].Name()],
		"another chunk":      s.objects[m.Chunks[1].Name()],
		"a bomb":             bomb(t, k.Recipient),
		"in plain":           plain[:mib],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forged, manifest := forge(0, object)
			i := restore(t, forged, manifest, plain, k.Identity)
			if err := i.Run(t.Context()); !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v, want an Invalid fault", err)
			}
			if info, err := i.Target.Stat(); err != nil || info.Size() > int64(len(plain)) {
				t.Errorf("the file has grown to %d bytes (%v)", info.Size(), err)
			}
		})
	}
}

// bomb is an object that is small, genuine, and has more in it than a chunk.
func bomb(t *testing.T, recipient string) []byte {
	t.Helper()
	r, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, r)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(w, zstd.WithWindowSize(4<<20)) // as exports have it
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		_, _ = z.Write(make([]byte, mib))
	}
	if err := errors.Join(z.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// An import that breaks off goes on, and one whose file was lost meanwhile begins anew.
func TestImportGoesOn(t *testing.T) {
	t.Parallel()
	plain, s, k := snapshot(), &shelf{objects: map[string][]byte{}}, keys(t)
	m, manifest, err := export(t, s, plain, k.Recipient).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := s.objects[m.Chunks[1].Name()]
	delete(s.objects, m.Chunks[1].Name())
	i := restore(t, s, manifest, plain, k.Identity)
	i.Kept = func(n int) error { i.Done[n] = true; return nil }
	if err := i.Run(t.Context()); !fault.Is(err, fault.Invalid) {
		t.Fatalf("got %v, want an Invalid fault", err)
	}
	if !maps.Equal(i.Done, map[int]bool{0: true}) {
		t.Fatalf("done %v, want the first chunk", i.Done)
	}
	s.objects[m.Chunks[1].Name()] = last
	delete(s.objects, m.Chunks[0].Name()) // which is not asked for again
	if err := i.Run(t.Context()); err != nil {
		t.Errorf("the rest: %v", err)
	}
	lost := restore(t, s, manifest, plain, k.Identity)
	lost.Done = i.Done
	if err := lost.Run(t.Context()); !errors.Is(err, archive.ErrAnew) {
		t.Errorf("got %v, want that it is to be begun anew", err)
	}
}

// A key that can't be read is not repeated.
func TestKeyStaysSecret(t *testing.T) {
	t.Parallel()
	i := restore(t, &shelf{objects: map[string][]byte{}}, "", nil, "AGE-SECRET-KEY-1HUNTER2")
	if err := i.Run(t.Context()); err == nil || strings.Contains(err.Error(), "HUNTER") || strings.Contains(fault.Message(err), "HUNTER") {
		t.Errorf("got %v", err)
	}
}

func TestManifestThatCantBeMeant(t *testing.T) {
	t.Parallel()
	good := archive.Manifest{
		Format: 1, Export: exportID, Content: "qcow2", Bytes: 100 * mib, ChunkBytes: archive.ChunkBytes(100 * mib),
		Chunks: []archive.Chunk{{Number: 0, Bytes: 5, SHA256: sum(nil)}, {Number: 6, Bytes: 5, SHA256: sum(nil)}},
	}
	read := func(m archive.Manifest) error {
		text, digest, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		_, err = archive.ReadManifest(bytes.NewReader(text), exportID, digest)
		return err
	}
	if err := read(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*archive.Manifest){
		"newer form":     func(m *archive.Manifest) { m.Format = 2 },
		"another":        func(m *archive.Manifest) { m.Export = "exp_2" },
		"content":        func(m *archive.Manifest) { m.Content = "raw" },
		"nothing":        func(m *archive.Manifest) { m.Bytes = 0 },
		"too much":       func(m *archive.Manifest) { m.Bytes = archive.MaxBytes + 1 },
		"chunk size":     func(m *archive.Manifest) { m.ChunkBytes = 1 },
		"twice":          func(m *archive.Manifest) { m.Chunks[1].Number = 0 },
		"behind":         func(m *archive.Manifest) { m.Chunks[1].Number = 7 },
		"negative":       func(m *archive.Manifest) { m.Chunks[0].Number = -1 },
		"empty":          func(m *archive.Manifest) { m.Chunks[0].Bytes = 0 },
		"large":          func(m *archive.Manifest) { m.Chunks[0].Bytes = archive.MostObject(m.ChunkBytes) + 1 },
		"sum":            func(m *archive.Manifest) { m.Chunks[0].SHA256 = "../../etc/passwd" },
		"sum in capital": func(m *archive.Manifest) { m.Chunks[0].SHA256 = strings.ToUpper(sum(nil)) },
	} {
		m := good
		m.Chunks = slices.Clone(good.Chunks)
		change(&m)
		if err := read(m); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want an Invalid fault", name, err)
		}
	}
}

// However large a file is, its manifest fits.
func TestChunks(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64]int64{1: chunk, 256 << 30: chunk, 256<<30 + 1: 2 * chunk, archive.MaxBytes: 4 << 30} {
		if got := archive.ChunkBytes(bytes); got != want {
			t.Errorf("ChunkBytes(%d) = %d, want %d", bytes, got, want)
		}
	}
	most := archive.Manifest{Format: 1, Export: exportID}
	for n := range 16384 {
		most.Chunks = append(most.Chunks, archive.Chunk{Number: n, Bytes: archive.MostObject(4 << 30), SHA256: sum(nil)})
	}
	if text, _, err := most.Encode(); err != nil || len(text) > archive.MaxManifest/4*3 {
		t.Errorf("the largest manifest has %d bytes (%v)", len(text), err)
	}
}

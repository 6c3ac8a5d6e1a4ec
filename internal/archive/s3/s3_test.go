package s3_test

import (
	"bytes"
	"crypto/md5" //nolint:gosec // see archive.Object
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/archive/archivetest"
	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func object(name, body string) archive.Object {
	sum := md5.Sum([]byte(body)) //nolint:gosec // see archive.Object
	return archive.Object{Name: name, Bytes: int64(len(body)), MD5: sum[:]}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What the control plane does with its store, at a real server.
func TestStore(t *testing.T) {
	t.Parallel()
	g := archivetest.Start(t)
	s := g.Store("deep/prefix")
	must(t, s.Check(t.Context()))
	if left := g.Files(t); len(left) != 0 {
		t.Errorf("the check left %v", left)
	}
	must(t, s.Put(t.Context(), "exp_1/b", []byte("bb")))
	must(t, s.Put(t.Context(), "exp_1/a", []byte("a")))
	must(t, s.Put(t.Context(), "exp_2/a", []byte("other")))
	list, err := s.List(t.Context(), "exp_1/")
	if want := []s3.Object{{"exp_1/a", 1}, {"exp_1/b", 2}}; err != nil || !slices.Equal(list, want) {
		t.Errorf("list %v (%v), want %v", list, err, want)
	}
	if got, err := s.Get(t.Context(), "exp_1/b"); err != nil || string(got) != "bb" {
		t.Errorf("got %q (%v)", got, err)
	}
	for range 2 { // a second time, it is gone already
		must(t, s.Delete(t.Context(), "exp_1/b"))
	}
	if _, err := s.Get(t.Context(), "exp_1/b"); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v, want a NotFound fault", err)
	}
	if files := g.Files(t); len(files) != 2 || string(files["deep/prefix/exp_2/a"]) != "other" {
		t.Errorf("the store has %v", files)
	}
}

// A list is longer than a page of the server.
func TestLongList(t *testing.T) {
	t.Parallel()
	g := archivetest.Start(t)
	s := g.Store("")
	g.Wrap(func(w http.ResponseWriter, r *http.Request, onward http.Handler) {
		onward.ServeHTTP(w, r)
	})
	for n := range 1003 {
		must(t, s.Put(t.Context(), fmt.Sprintf("exp_1/%05d", n), []byte("x")))
	}
	list, err := s.List(t.Context(), "exp_1/")
	if err != nil || len(list) != 1003 || list[1002].Name != "exp_1/01002" {
		t.Errorf("listed %d (%v), want 1003", len(list), err)
	}
}

// A link lets who has it store what it was made for, where it was made for, and
// nothing else.
func TestPutLink(t *testing.T) {
	t.Parallel()
	g := archivetest.Start(t)
	s := g.Store("p")
	o := object("00000-0123456789abcdef", "sealed bytes")
	link, err := s.PutLink(t.Context(), "exp_1/", o)
	must(t, err)
	put := func(l s3.Link, o archive.Object, body string) error {
		return s3.Put(t.Context(), http.DefaultClient, l, o, strings.NewReader(body))
	}
	if err := put(link, object(o.Name, "other bytes!"), "other bytes!"); err == nil {
		t.Error("other bytes of the same length are stored by it")
	}
	if err := put(link, object(o.Name, "longer than it was"), "longer than it was"); err == nil {
		t.Error("more bytes are stored by it")
	}
	if err := put(link, o, "Sealed bytes"); err == nil {
		t.Error("a lie about the checksum is believed")
	}
	elsewhere := s3.Link(strings.Replace(string(link), "exp_1", "exp_2", 1))
	if err := put(elsewhere, o, "sealed bytes"); err == nil {
		t.Error("it is good for another export")
	}
	if _, err := s3.Get(t.Context(), http.DefaultClient, link); err == nil {
		t.Error("it lets read")
	}
	if files := g.Files(t); len(files) != 0 {
		t.Fatalf("the store has %v", files)
	}
	for range 2 { // its answer may have got lost
		must(t, put(link, o, "sealed bytes"))
	}
	if got := string(g.Files(t)["p/exp_1/"+o.Name]); got != "sealed bytes" {
		t.Errorf("stored %q", got)
	}
	get, err := s.GetLink(t.Context(), "exp_1/", o.Name)
	must(t, err)
	r, err := s3.Get(t.Context(), http.DefaultClient, get)
	must(t, err)
	defer r.Close() //nolint:errcheck // only read from
	if got, err := io.ReadAll(r); err != nil || string(got) != "sealed bytes" {
		t.Errorf("got %q (%v)", got, err)
	}
	if err := put(get, o, "sealed bytes"); err == nil {
		t.Error("a link to read lets write")
	}
}

// A link is good for a quarter of an hour.
func TestLinkEnds(t *testing.T) {
	t.Parallel()
	g := archivetest.Start(t)
	l, err := s3.ParseLocation(g.Address("p"))
	must(t, err)
	must(t, g.Store("p").Put(t.Context(), "exp_1/a", []byte("a")))
	early := s3.New(s3.Config{Location: l, Credentials: g.Credentials(), Now: func() time.Time { return time.Now().Add(-s3.LinkTime - time.Minute) }})
	link, err := early.GetLink(t.Context(), "exp_1/", "a")
	must(t, err)
	if _, err := s3.Get(t.Context(), http.DefaultClient, link); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want an Unavailable fault", err)
	}
}

// Nothing that goes wrong tells a link or a key.
func TestErrorsTellNoSecret(t *testing.T) {
	t.Parallel()
	g := archivetest.Start(t)
	s := g.Store("p")
	link, err := s.GetLink(t.Context(), "exp_1/", "a")
	must(t, err)
	if text := fmt.Sprintf("%v %s %+v %#v %v", link, link, link, link, []s3.Link{link}); strings.Contains(text, "X-Amz") {
		t.Errorf("the link says itself: %s", text)
	}
	if text := fmt.Sprintf("%v %+v %#v", g.Credentials(), g.Credentials(), g.Credentials()); strings.Contains(text, archivetest.Secret) {
		t.Errorf("the keys say themselves: %s", text)
	}
	var followed atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer thief.Close()
	answers := map[string]http.HandlerFunc{
		"refused": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL+r.URL.String(), http.StatusTemporaryRedirect)
		},
		"cut off": func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		},
		"cut in the middle": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("half"))
		},
		"repeats": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", r.URL.Query().Get("X-Amz-Signature"))
		},
	}
	for name, answer := range answers {
		server := httptest.NewServer(answer)
		defer server.Close()
		l := s3.Link(strings.Replace(string(link), g.URL, server.URL, 1))
		r, err := s3.Get(t.Context(), http.DefaultClient, l)
		if err == nil {
			_, err = io.ReadAll(r)
			_ = r.Close()
		}
		signature := signatureOf(t, link)
		if err == nil || strings.Contains(err.Error(), "X-Amz") || strings.Contains(err.Error(), signature[:20]) || strings.Contains(err.Error(), archivetest.AccessKey) || !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
		o := object("a", strings.Repeat("x", 1<<20))
		if err := s3.Put(t.Context(), http.DefaultClient, l, o, bytes.NewReader(make([]byte, 1<<20))); name != "cut in the middle" &&
			(err == nil || strings.Contains(err.Error(), "X-Amz") || strings.Contains(err.Error(), signature[:20])) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := followed.Load(); n > 0 {
		t.Errorf("%d links were followed to where a store redirects", n)
	}
}

func signatureOf(t *testing.T, l s3.Link) string {
	t.Helper()
	u, err := url.Parse(string(l))
	must(t, err)
	signature := u.Query().Get("X-Amz-Signature")
	if len(signature) != 64 {
		t.Fatalf("the signature is %q", signature)
	}
	return signature
}

// Check says which permission is missing.
func TestCheckSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	g := archivetest.Start(t)
	for method, want := range map[string]string{"PUT": "can't write to", "GET": "can't read from", "DELETE": "can't remove from"} {
		g.Wrap(func(w http.ResponseWriter, r *http.Request, onward http.Handler) {
			if r.Method == method {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			onward.ServeHTTP(w, r)
		})
		err := g.Store("p").Check(t.Context())
		if err == nil || !strings.Contains(fault.Message(err), want) || !strings.Contains(fault.Message(err), "403") {
			t.Errorf("%s refused: %v, want %q", method, err, want)
		}
	}
	g.Wrap(nil)
	l, err := s3.ParseLocation(g.Address("p"))
	must(t, err)
	wrong := s3.New(s3.Config{Location: l, Credentials: s3.Credentials{AccessKey: archivetest.AccessKey, SecretKey: "wrong"}, Now: time.Now})
	if err := wrong.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "403 SignatureDoesNotMatch") {
		t.Errorf("wrong keys: %v", err)
	}
}

func TestLocations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"s3://bucket":                                        "s3://bucket/ at https://bucket.s3.us-east-1.amazonaws.com",
		"s3://bucket/a/b?region=eu-central-1":                "s3://bucket/a/b/ at https://bucket.s3.eu-central-1.amazonaws.com",
		"s3://dotted.bucket?region=eu-north-1":               "s3://dotted.bucket/ at https://s3.eu-north-1.amazonaws.com",
		"s3://bucket/?endpoint=https://s3.example.org":       "s3://bucket/ at https://s3.example.org",
		"s3://bucket/a/?endpoint=https://s3.example.org:81/": "s3://bucket/a/ at https://s3.example.org:81",
		"s3://bucket/a?endpoint=http://127.0.0.1:7070":       "s3://bucket/a/ at http://127.0.0.1:7070",
	} {
		l, err := s3.ParseLocation(text)
		if err != nil || l.String() != want {
			t.Errorf("%s is %s (%v), want %s", text, l, err, want)
		}
	}
	for _, text := range []string{
		"", "bucket", "https://bucket", "s3://", "s3://B", "s3://a", "s3://key:secret@bucket", "s3://bucket/a//b", "s3://bucket/a b", "s3://bucket/..%2f?x",
		"s3://bucket?endpoint=http://s3.example.org", "s3://bucket?endpoint=https://key@s3.example.org", "s3://bucket?endpoint=https://s3.example.org/path",
		"s3://bucket?endpoint=ftp://s3.example.org", "s3://bucket?region=EU", "s3://bucket?secret=x", "s3://bucket#x",
	} {
		if _, err := s3.ParseLocation(text); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v, want an Invalid fault", text, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	want := s3.Credentials{AccessKey: "a", SecretKey: "b/c=", SessionToken: "t"}
	got, err := s3.ReadCredentials("# keys\nexport AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY = \"b/c=\"\n\nAWS_SESSION_TOKEN=t\nOTHER=x\n")
	if err != nil || got != want {
		t.Errorf("got %v", err)
	}
	if _, err := s3.ReadCredentials("AWS_ACCESS_KEY_ID=hunter2\n"); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want that the secret is missing", err)
	}
	env := map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b/c=", "AWS_SESSION_TOKEN": "t"}
	if got, err := s3.CredentialsFrom(func(name string) string { return env[name] }); err != nil || got != want {
		t.Errorf("got %v", err)
	}
}

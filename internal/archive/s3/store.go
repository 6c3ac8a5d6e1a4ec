package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/cpucloud/cpucloud/internal/fault"
)

const (
	service     = "s3"
	mostAnswer  = 8 << 20 // bytes of an answer that is read whole: a page of a listing has less than 1 MiB
	requestTime = time.Minute
	mostPages   = 64 // of 1,000 names each
)

// Config of a Store.
type Config struct {
	Location    Location
	Credentials Credentials
	HTTP        *http.Client // nil for one with defaults
	Now         func() time.Time
}

// Store is the store as who has its keys uses it.
type Store struct {
	cfg    Config
	signer *v4.Signer
}

// New returns a Store, which is not asked anything yet.
func New(c Config) *Store {
	if c.HTTP == nil {
		c.HTTP = &http.Client{Timeout: requestTime, CheckRedirect: noRedirect}
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // as S3 wants it
	return &Store{cfg: c, signer: signer}
}

// noRedirect keeps signed requests from going anywhere else.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Location returns where the store is.
func (s *Store) Location() Location { return s.cfg.Location }

// Object is one that is in the store.
type Object struct {
	Name  string // without the store's prefix
	Bytes int64
}

// Put stores a small object.
func (s *Store) Put(ctx context.Context, name string, body []byte) error {
	_, err := s.do(ctx, http.MethodPut, s.address(name), body)
	return err
}

// Get returns a small object. Returns a NotFound fault when there is none.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	return s.do(ctx, http.MethodGet, s.address(name), nil)
}

// Delete removes an object; one that isn't there is removed.
func (s *Store) Delete(ctx context.Context, name string) error {
	_, err := s.do(ctx, http.MethodDelete, s.address(name), nil)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// listing is a page of ListObjectsV2.
type listing struct {
	Truncated bool   `xml:"IsTruncated"`
	Next      string `xml:"NextContinuationToken"`
	Contents  []struct {
		Key  string
		Size int64
	}
}

// List returns the objects whose names begin with prefix, sorted by name.
func (s *Store) List(ctx context.Context, prefix string) (list []Object, err error) {
	token := ""
	for range mostPages {
		query := url.Values{"list-type": {"2"}, "prefix": {s.cfg.Location.Prefix + prefix}}
		if token != "" {
			query.Set("continuation-token", token)
		}
		text, err := s.do(ctx, http.MethodGet, s.cfg.Location.bucket()+"?"+query.Encode(), nil)
		if err != nil {
			return nil, err
		}
		var page listing
		if err := xml.Unmarshal(text, &page); err != nil {
			return nil, fault.New(fault.Unavailable, "the store's list can't be read")
		}
		for _, o := range page.Contents {
			list = append(list, Object{Name: strings.TrimPrefix(o.Key, s.cfg.Location.Prefix), Bytes: o.Size})
		}
		if token = page.Next; !page.Truncated || token == "" {
			return list, nil
		}
	}
	return nil, fault.Newf(fault.Unavailable, "the store has more than %d,000 objects under one name", mostPages)
}

// probe is the object that Check stores and removes.
const probe = "cpucloud-probe"

// Check stores, reads, lists and removes an object, and returns a fault that says what
// does not work.
func (s *Store) Check(ctx context.Context) error {
	const text = "Written by cpucloud to see whether it can write here. It may be removed.\n"
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"write to", func() error { return s.Put(ctx, probe, []byte(text)) }},
		{"read from", func() error {
			got, err := s.Get(ctx, probe)
			if err == nil && string(got) != text {
				err = fault.New(fault.Unavailable, "it gives something else than what was stored")
			}
			return err
		}},
		{"list", func() error {
			found, err := s.List(ctx, probe)
			if err == nil && len(found) == 0 {
				err = fault.New(fault.Unavailable, "what was stored is not in its list")
			}
			return err
		}},
		{"remove from", func() error { return s.Delete(ctx, probe) }},
	} {
		if err := step.do(); err != nil {
			return fault.Newf(fault.KindOf(err), "can't %s the store %s: %s", step.what, s.cfg.Location, fault.Message(err))
		}
	}
	return nil
}

// address returns the URL of an object. Names are of letters that need no escape.
func (s *Store) address(name string) string {
	return s.cfg.Location.bucket() + "/" + s.cfg.Location.Prefix + name
}

func (s *Store) keys() aws.Credentials {
	c := s.cfg.Credentials
	return aws.Credentials{AccessKeyID: c.AccessKey, SecretAccessKey: c.SecretKey, SessionToken: c.SessionToken}
}

// do sends a signed request and returns the body of its answer.
func (s *Store) do(ctx context.Context, method, address string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	digest := sha256.Sum256(body)
	sum := hex.EncodeToString(digest[:])
	r.Header.Set("X-Amz-Content-Sha256", sum)
	if err := s.signer.SignHTTP(ctx, s.keys(), r, sum, service, s.cfg.Location.Region, s.cfg.Now()); err != nil {
		return nil, fmt.Errorf("sign request: %w", err)
	}
	answer, err := send(s.cfg.HTTP, r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswer+1))
	switch {
	case err != nil:
		return nil, away(err)
	case len(text) > mostAnswer:
		return nil, fault.New(fault.Unavailable, "the store's answer is too long")
	}
	return text, nil
}

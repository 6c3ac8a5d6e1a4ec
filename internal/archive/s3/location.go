// Package s3 keeps exports in a store that speaks S3: what the control plane does
// with it itself, and links that let an agent store or fetch one object for a
// while without knowing any key of the store.
package s3

import (
	"log/slog"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Location says where in which store exports lie.
type Location struct {
	Bucket   string
	Prefix   string // of all names, "" or ending in a slash
	Region   string
	Endpoint string // "https://host:port"
	path     bool   // the bucket is named in the path, not in the host
}

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixName = regexp.MustCompile(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*/?$`)
	regionName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
)

// ParseLocation reads s3://BUCKET/PREFIX?region=REGION&endpoint=URL. Without an
// endpoint the store is that of AWS. Returns an Invalid fault that says what is
// wrong; a store that is reached by plain http has to be on this machine, because
// links to it would be read by who listens.
func ParseLocation(text string) (Location, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" || u.User != nil || u.Fragment != "" {
		return Location{}, fault.New(fault.Invalid, "the store has to be s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION, without keys: these are read from a file or the environment")
	}
	for name := range u.Query() {
		if name != "endpoint" && name != "region" {
			return Location{}, fault.Newf(fault.Invalid, "the store's address has a %q, which nobody knows; there are endpoint and region", name)
		}
	}
	l := Location{Bucket: u.Host, Prefix: strings.TrimPrefix(u.Path, "/"), Region: u.Query().Get("region"), Endpoint: u.Query().Get("endpoint")}
	if l.Region == "" {
		l.Region = "us-east-1"
	}
	switch {
	case !bucketName.MatchString(l.Bucket):
		return Location{}, fault.Newf(fault.Invalid, "%q is no name of a bucket", l.Bucket)
	case l.Prefix != "" && !prefixName.MatchString(l.Prefix):
		return Location{}, fault.Newf(fault.Invalid, "the prefix %q has to be of letters, digits, dots, hyphens and single slashes", l.Prefix)
	case !regionName.MatchString(l.Region):
		return Location{}, fault.Newf(fault.Invalid, "%q is no name of a region", l.Region)
	}
	if l.Prefix != "" {
		l.Prefix = strings.TrimSuffix(l.Prefix, "/") + "/"
	}
	return l, l.locate()
}

// locate checks the endpoint, or finds that of AWS.
func (l *Location) locate() error {
	if l.Endpoint == "" {
		host := "s3." + l.Region + ".amazonaws.com"
		if l.path = strings.Contains(l.Bucket, "."); !l.path { // certificates are for one label
			host = l.Bucket + "." + host
		}
		l.Endpoint = "https://" + host
		return nil
	}
	u, err := url.Parse(l.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" || u.Scheme != "https" && u.Scheme != "http" {
		return fault.New(fault.Invalid, "the store's endpoint has to be https://HOST or https://HOST:PORT")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fault.New(fault.Invalid, "the store's endpoint has to be https: plain http is for a store on this machine alone")
	}
	l.path, l.Endpoint = true, u.Scheme+"://"+u.Host
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Host returns the store's host, and port if it has one: whom agents connect to.
func (l Location) Host() string {
	_, host, _ := strings.Cut(l.Endpoint, "://")
	return host
}

// String returns the location as an operator knows it.
func (l Location) String() string { return "s3://" + l.Bucket + "/" + l.Prefix + " at " + l.Endpoint }

// bucket returns the URL of the bucket, without a slash at the end.
func (l Location) bucket() string {
	if l.path {
		return l.Endpoint + "/" + l.Bucket
	}
	return l.Endpoint
}

// Credentials are the keys of the store. They never appear in logs or errors.
type Credentials struct {
	AccessKey    string
	SecretKey    string
	SessionToken string // "" for keys that last
}

// LogValue keeps the keys out of logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String keeps the keys out of texts.
func (c Credentials) String() string { return "keys of a store" }

// GoString keeps the keys out of texts, too.
func (c Credentials) GoString() string { return c.String() }

// The names of the keys, in a file and in the environment.
const (
	accessKeyName    = "AWS_ACCESS_KEY_ID"
	secretKeyName    = "AWS_SECRET_ACCESS_KEY" //nolint:gosec // its name
	sessionTokenName = "AWS_SESSION_TOKEN"     //nolint:gosec // its name
)

// ReadCredentials takes the keys out of lines of the form NAME=VALUE, as in a file
// of environment variables. Returns an Invalid fault that says which one is missing.
func ReadCredentials(text string) (Credentials, error) {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			values[strings.TrimSpace(strings.TrimPrefix(name, "export "))] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return credentials(func(name string) string { return values[name] })
}

// CredentialsFrom takes the keys out of the environment.
func CredentialsFrom(env func(string) string) (Credentials, error) { return credentials(env) }

func credentials(get func(string) string) (Credentials, error) {
	c := Credentials{AccessKey: get(accessKeyName), SecretKey: get(secretKeyName), SessionToken: get(sessionTokenName)}
	for name, value := range map[string]string{accessKeyName: c.AccessKey, secretKeyName: c.SecretKey} {
		if value == "" {
			return Credentials{}, fault.Newf(fault.Invalid, "the store's keys are incomplete: there is no %s", name)
		}
	}
	return c, nil
}

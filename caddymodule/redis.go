package caddymodule

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"

	"github.com/paywordhq/payword/money"
)

// Redis is where several gates keep their commitments together: a single
// server, one behind Sentinel, or a cluster; Valkey is spoken to the same way.
// The texts may hold placeholders such as {env.REDIS_PASSWORD}.
type Redis struct {
	// Where Redis listens, such as "redis.internal:6379"; of a cluster some of
	// its nodes, and with sentinel the sentinels. At least one is
	// required.
	Addresses []string `json:"addresses,omitempty"`

	// Whom to log in as. Default: Redis' user "default".
	Username string `json:"username,omitempty"`

	// The password of that user. Default: none. Rather write a placeholder,
	// such as {env.REDIS_PASSWORD}, than the password: Caddy shows its
	// configuration to whoever may ask its admin endpoint.
	Password string `json:"password,omitempty"`

	// A file that holds the password alone, in place of password. It is read
	// when the store is opened. Default: none.
	PasswordFile string `json:"password_file,omitempty"`

	// The number of the database. A cluster has 0 alone. Default: 0.
	Database int `json:"database,omitempty"`

	// Speak TLS. Default: off.
	TLS *RedisTLS `json:"tls,omitempty"`

	// The name of the master, as the sentinels know it: then addresses are those
	// of the sentinels. Default: none.
	Sentinel string `json:"sentinel,omitempty"`

	// Whom to log in to the sentinels as. Default: nobody.
	SentinelUsername string `json:"sentinel_username,omitempty"`

	// The password for the sentinels. Default: none.
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// Whether the addresses are those of a Redis Cluster. Default: false.
	Cluster bool `json:"cluster,omitempty"`

	// What all keys begin with. Gates with another prefix share nothing.
	// Default: "payword:".
	Prefix string `json:"prefix,omitempty"`

	// How long to wait for one answer of Redis, and for a connection: 10ms to
	// 30s. A step waits three times as long at most, over all its tries.
	// Default: 1s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// The most connections to each server: 8 to 1000. Default: 16.
	Connections int `json:"connections,omitempty"`

	// What to do while Redis does not answer: "deny" answers 503 to who pays;
	// "local <amount> <currency>", such as "local 5 USD", goes on in memory and
	// charges up to that sum in one outage, over all its users. Default: "deny".
	OnStoreFailure string `json:"on_store_failure,omitempty"`
}

// RedisTLS says how TLS to Redis is checked.
type RedisTLS struct {
	// A file with the certificates, in PEM, of who may sign the server's.
	// Default: those that the system trusts.
	CA string `json:"ca,omitempty"`

	// A file with the gate's own certificate, in PEM. Default: none.
	Certificate string `json:"certificate,omitempty"`

	// A file with the key of that certificate, in PEM. Default: none.
	Key string `json:"key,omitempty"`

	// The name that the server's certificate has to carry. Default: the host of
	// its address.
	ServerName string `json:"server_name,omitempty"`
}

const (
	defaultRedisPrefix      = "payword:"
	defaultRedisTimeout     = time.Second
	defaultRedisConnections = 16

	// maxRedisPrefixBytes keeps keys short: one is in every call.
	maxRedisPrefixBytes = 64
)

// readRedis reads the option redis. Syntax:
//
//	redis <address>... {
//	    username         <name>
//	    password         <password>
//	    password_file    <file>
//	    database         <number>
//	    tls              [<ca file>]
//	    tls_client       <certificate file> <key file>
//	    tls_server_name  <name>
//	    sentinel         <master> [<username> <password>]
//	    cluster
//	    prefix           <text>
//	    timeout          <duration>
//	    connections      <number>
//	    on_store_failure deny | local <amount> <currency>
//	}
func readRedis(a *App, d *caddyfile.Dispenser) error {
	a.Redis = &Redis{Addresses: d.RemainingArgs()}
	return readBlock(d, a.Redis, redisOptions)
}

var redisOptions = map[string]option[*Redis]{
	"username":         word("<name>", func(r *Redis) *string { return &r.Username }),
	"password":         word("<password>", func(r *Redis) *string { return &r.Password }),
	"password_file":    word("<file>", func(r *Redis) *string { return &r.PasswordFile }),
	"database":         one("<number>", readRedisNumber(func(r *Redis) *int { return &r.Database })),
	"tls":              readRedisTLS,
	"tls_client":       readRedisClient,
	"tls_server_name":  word("<name>", func(r *Redis) *string { return &r.withTLS().ServerName }),
	"sentinel":         readSentinel,
	"cluster":          bare(func(r *Redis) *bool { return &r.Cluster }),
	"prefix":           word("<text>", func(r *Redis) *string { return &r.Prefix }),
	"timeout":          duration(func(r *Redis, value caddy.Duration) { r.Timeout = value }),
	"connections":      one("<number>", readRedisNumber(func(r *Redis) *int { return &r.Connections })),
	"on_store_failure": readStoreFailure,
}

func readRedisNumber(field func(*Redis) *int) func(*Redis, *caddyfile.Dispenser, string) error {
	return func(r *Redis, d *caddyfile.Dispenser, argument string) error {
		number, err := strconv.Atoi(argument)
		if err != nil {
			return d.Errf("%q: want a number", argument)
		}
		*field(r) = number
		return nil
	}
}

func (r *Redis) withTLS() *RedisTLS {
	if r.TLS == nil {
		r.TLS = new(RedisTLS)
	}
	return r.TLS
}

func readRedisTLS(r *Redis, d *caddyfile.Dispenser) error {
	switch arguments := d.RemainingArgs(); len(arguments) {
	case 0:
		r.withTLS()
	case 1:
		r.withTLS().CA = arguments[0]
	default:
		return d.Err("want tls [<ca file>]")
	}
	return nil
}

func readRedisClient(r *Redis, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) != 2 {
		return d.Err("want tls_client <certificate file> <key file>")
	}
	r.withTLS().Certificate, r.withTLS().Key = arguments[0], arguments[1]
	return nil
}

func readSentinel(r *Redis, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	switch len(arguments) {
	case 3:
		r.SentinelUsername, r.SentinelPassword = arguments[1], arguments[2]
	case 1:
	default:
		return d.Err("want sentinel <master> [<username> <password>]")
	}
	r.Sentinel = arguments[0]
	return nil
}

func readStoreFailure(r *Redis, d *caddyfile.Dispenser) error {
	r.OnStoreFailure = strings.Join(d.RemainingArgs(), " ")
	return nil
}

// localPolicy reads on_store_failure.
func (r *Redis) localPolicy() (localPolicy, error) {
	if r.OnStoreFailure == "" || r.OnStoreFailure == "deny" {
		return localPolicy{}, nil
	}
	text, isLocal := strings.CutPrefix(r.OnStoreFailure, "local ")
	if !isLocal {
		return localPolicy{}, fmt.Errorf("on_store_failure %q: want deny, or local <amount> <currency>, such as: local 5 USD", r.OnStoreFailure)
	}
	limit, currency, err := parsePrice(text)
	if err != nil {
		return localPolicy{}, fmt.Errorf("on_store_failure: %w", err)
	}
	if limit < 1 || limit > money.MaxAmount {
		return localPolicy{}, fmt.Errorf("on_store_failure: want more than 0, at most %s", money.MaxAmount.Decimal())
	}
	return newLocalPolicy(limit, currency), nil
}

// resolved returns the configuration with defaults and placeholders filled in.
// It is never shown: it holds the password.
func (r *Redis) resolved() *Redis {
	replacer := caddy.NewReplacer()
	full := *r
	full.Addresses = make([]string, len(r.Addresses))
	for k, address := range r.Addresses {
		full.Addresses[k] = replacer.ReplaceKnown(address, "")
	}
	for _, text := range []*string{
		&full.Username, &full.Password, &full.PasswordFile, &full.Sentinel, &full.SentinelUsername, &full.SentinelPassword, &full.Prefix,
	} {
		*text = replacer.ReplaceKnown(*text, "")
	}
	full.Prefix = cmp.Or(full.Prefix, defaultRedisPrefix)
	full.Timeout = cmp.Or(full.Timeout, caddy.Duration(defaultRedisTimeout))
	full.Connections = cmp.Or(full.Connections, defaultRedisConnections)
	return &full
}

// validate checks the configuration.
func (r *Redis) validate() error {
	full := r.resolved()
	timeout := time.Duration(full.Timeout)
	switch {
	case len(full.Addresses) == 0 || strings.Join(full.Addresses, "") == "":
		return errors.New("name at least one address, such as: redis 127.0.0.1:6379")
	case full.Cluster && full.Sentinel != "":
		return errors.New("cluster and sentinel: want one of them, or neither")
	case full.Cluster && full.Database != 0:
		return errors.New("database: a cluster has 0 alone")
	case full.Database < 0:
		return fmt.Errorf("database %d: want 0 or more", full.Database)
	case !full.Cluster && full.Sentinel == "" && len(full.Addresses) > 1:
		return fmt.Errorf("%d addresses of a single server: want one, or say cluster or sentinel <master>", len(full.Addresses))
	case full.Password != "" && full.PasswordFile != "":
		return errors.New("password and password_file: want one of them")
	case timeout < 10*time.Millisecond || timeout > 30*time.Second:
		return errors.New("timeout: want 10ms to 30s")
	case full.Connections < 2*lineBatches || full.Connections > 1000:
		return fmt.Errorf("connections %d: want %d to 1000", full.Connections, 2*lineBatches)
	case len(full.Prefix) > maxRedisPrefixBytes || strings.ContainsAny(full.Prefix, "{}*?[]\\"):
		return fmt.Errorf("prefix: want at most %d bytes, without { } * ? [ ] and \\", maxRedisPrefixBytes)
	case full.TLS != nil && (full.TLS.Certificate == "") != (full.TLS.Key == ""):
		return errors.New("tls: a client certificate needs its key, and the other way round")
	}
	for _, address := range full.Addresses {
		if err := checkRedisAddress(address); err != nil {
			return err
		}
	}
	_, err := full.localPolicy()
	return err
}

func checkRedisAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil && host != "" {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || host == "" {
		return fmt.Errorf("address %q: want a host and a port, such as 127.0.0.1:6379", address)
	}
	return nil
}

// poolKey tells one configuration of Redis from another without saying what
// stands in it; "" for none.
func (r *Redis) poolKey() (string, error) {
	if r == nil {
		return "", nil
	}
	text, err := json.Marshal(r.resolved())
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return " redis " + hex.EncodeToString(sum[:8]), nil
}

// client returns a client. It dials nothing yet.
func (r *Redis) client() (redis.UniversalClient, error) {
	password := r.Password
	if r.PasswordFile != "" {
		text, err := os.ReadFile(r.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("password_file: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	options := &redis.UniversalOptions{
		Addrs: r.Addresses, Username: r.Username, Password: password, DB: r.Database,
		MasterName: r.Sentinel, SentinelUsername: r.SentinelUsername, SentinelPassword: r.SentinelPassword,
		IsClusterMode: r.Cluster, PoolSize: r.Connections, MaxActiveConns: r.Connections, ClientName: "payword-gate",
	}
	if r.TLS != nil {
		var err error
		if options.TLSConfig, err = r.TLS.config(); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	return newRedisClient(options, time.Duration(r.Timeout)), nil
}

func (t *RedisTLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", t.CA)
		}
	}
	if t.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// newRedisClient returns a client with the limits of a gate: it never tries
// again by itself, but for following a slot to where it moved.
func newRedisClient(options *redis.UniversalOptions, timeout time.Duration) redis.UniversalClient {
	logRedisQuietly()
	options.MaxRetries = -1
	options.MinRetryBackoff, options.MaxRetryBackoff = -1, -1 // a slot that moved is followed at once
	options.DialerRetries = 1
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout, options.PoolTimeout = timeout, timeout, timeout, timeout
	options.ContextTimeoutEnabled = true
	options.PipelinePoolSize = -1
	options.FailingTimeoutSeconds = 1
	// Its handshake would be one more round trip for each connection, for what
	// only one company's hosted Redis sends.
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if options.MasterName == "" && (options.IsClusterMode || len(options.Addrs) > 1) {
		cluster := options.Cluster()
		// The client would ask once a minute where the slots are, and until then not
		// find the replica that took a dead master's place.
		cluster.ClusterStateReloadInterval = time.Second
		return redis.NewClusterClient(cluster)
	}
	return redis.NewUniversalClient(options)
}

// logRedisQuietly sends what the client library prints by itself, once for each
// dial that fails, to Caddy's debug log: the store says once what is wrong.
var logRedisQuietly = sync.OnceFunc(func() { redis.SetLogger(redisLogger{}) })

type redisLogger struct{}

// Printf writes what go-redis has to say to Caddy's log, at DEBUG.
func (redisLogger) Printf(_ context.Context, format string, values ...any) {
	if checked := caddy.Log().Named("payword.redis").Check(zap.DebugLevel, "redis client"); checked != nil {
		checked.Write(zap.String("detail", fmt.Sprintf(format, values...)))
	}
}

// openShared opens the store that gates share.
func (r *Redis) openShared(directory string, keys secrets, logger *zap.Logger) (*redisStore, error) {
	full := r.resolved()
	local, err := full.localPolicy()
	if err != nil {
		return nil, err
	}
	client, err := full.client()
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	warnOfFiles(directory, logger)
	return openRedisStore(client, redisStoreOptions{
		prefix: full.Prefix, timeout: time.Duration(full.Timeout), logger: logger, local: local,
		secrets: secretsCheck{directory: directory, vendor: keys.vendor},
	}), nil
}

// warnOfFiles says that what a file store left in the directory is not read.
func warnOfFiles(directory string, logger *zap.Logger) {
	left, _ := filepath.Glob(filepath.Join(directory, "journal*"))
	if len(left) > 0 {
		logger.Warn("commitments that were opened before redis was configured stand in the directory of the store and are not used: "+
			"redeem them by starting this gate once without redis and asking the admin endpoint for /payword/redeem", zap.String("directory", directory))
	}
}

// closableStore is a store that a gate owns.
type closableStore interface {
	store
	Close() error
}

// openStoreOf opens the store of a gate, and reads the keys in its directory,
// making them if there are none.
func openStoreOf(directory string, shared *Redis, logger *zap.Logger) (closableStore, secrets, error) {
	if shared != nil {
		if err := os.MkdirAll(directory, 0o700); err != nil {
			return nil, secrets{}, err
		}
		keys, err := loadSecrets(directory)
		if err != nil {
			return nil, secrets{}, err
		}
		opened, err := shared.openShared(directory, keys, logger)
		return opened, keys, err
	}
	files, err := openFileStore(directory, fileStoreOptions{logger: logger})
	if err != nil {
		return nil, secrets{}, err
	}
	keys, err := loadSecrets(directory)
	if err != nil {
		return nil, secrets{}, errors.Join(err, files.Close())
	}
	return files, keys, nil
}

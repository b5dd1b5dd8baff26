// SPDX-License-Identifier: GPL-3.0-or-later
// The two ends of a bench, in Go, so that they take little of the machine that they share with Orthanc:
//
//	bench store --port N   an object store in memory: S3, Azure Blob and Google Cloud Storage at one port;
//	                       with --tls-port M --certificate FILE --key FILE also over TLS
//	bench load             sends requests to Orthanc: a plan in JSON on stdin, what was measured on stdout
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("bench store | load")
	}
	switch os.Args[1] {
	case "store":
		flags := flag.NewFlagSet("store", flag.ExitOnError)
		port := flags.Int("port", 0, "of 127.0.0.1")
		tlsPort := flags.Int("tls-port", 0, "of 127.0.0.1")
		certificate := flags.String("certificate", "", "of that port, PEM")
		key := flags.String("key", "", "of the certificate, PEM")
		_ = flags.Parse(os.Args[2:])
		store := newStore()
		if *tlsPort != 0 {
			go func() {
				log.Fatal(http.ListenAndServeTLS(fmt.Sprintf("127.0.0.1:%d", *tlsPort), *certificate, *key, store))
			}()
		}
		log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", *port), store))
	case "load":
		var plan plan
		if err := json.NewDecoder(os.Stdin).Decode(&plan); err != nil {
			log.Fatal(err)
		}
		result, err := plan.run()
		if err != nil {
			log.Fatal(err)
		}
		_ = json.NewEncoder(os.Stdout).Encode(result)
	default:
		log.Fatalf("no such command: %s", os.Args[1])
	}
}

// cpuMs is what this process has taken of the processors so far.
func cpuMs() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	total := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return float64(total) / float64(time.Millisecond)
}

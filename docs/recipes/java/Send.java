// SPDX-License-Identifier: MPL-2.0

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.regex.Pattern;

/**
 * Posts each line of the input to a provider, with a bearer token from Vault. A line is a message in the provider's
 * JSON. Needs Java 11 or later, and no library:
 *
 * <pre>
 *   export VAULT_ADDR=https://vault.example.com:8200 VAULT_TOKEN=…
 *   java Send.java messaging/creds/sinch https://provider.example.com/messages &lt;messages.jsonl
 * </pre>
 */
public class Send {
    static final HttpClient http = HttpClient.newHttpClient();

    /** Reads a token from Vault and keeps it for nine tenths of its lease. The last tenth is for requests in progress. */
    static class Source {
        // If your app has a JSON library, use that instead of these patterns.
        private static final Pattern TOKEN = Pattern.compile("\"access_token\":\"([^\"]+)\"");
        private static final Pattern ID = Pattern.compile("\"token_id\":\"([^\"]+)\"");
        // Without a lease, lease_duration is 0 and ttl says how long to keep the token.
        private static final Pattern SECONDS = Pattern.compile("\"(?:lease_duration|ttl)\":([1-9]\\d*)");

        private final String url;
        private final String vaultToken;
        private String token;
        private String id; // the token_id of the token
        private String report = ""; // the query of the next read, which may report a token
        private long until; // when to read the next token, by System.nanoTime()

        Source(String address, String vaultToken, String path) {
            this.url = address + "/v1/" + path;
            this.vaultToken = vaultToken;
        }

        synchronized String token() throws IOException, InterruptedException {
            long now = System.nanoTime();
            if (token == null || now - until >= 0) {
                var read = HttpRequest.newBuilder(URI.create(url + report))
                        .header("X-Vault-Token", vaultToken).timeout(Duration.ofSeconds(60)).build();
                var answer = http.send(read, BodyHandlers.ofString());
                if (answer.statusCode() != 200) {
                    throw new IOException("Vault answered " + answer.statusCode() + ": " + answer.body());
                }
                token = find(TOKEN, answer.body());
                id = find(ID, answer.body());
                report = "";
                until = now + Long.parseLong(find(SECONDS, answer.body())) * 900_000_000;
            }
            return token;
        }

        /** Says that the provider rejects a token. The next call of token() reports it to Vault and reads a new one. */
        synchronized void refused(String refused) {
            if (refused.equals(token)) {
                token = null;
                report = "?rejected=" + id;
            }
        }

        private static String find(Pattern field, String json) throws IOException {
            var m = field.matcher(json);
            if (!m.find()) {
                throw new IOException("Vault's answer lacks " + field);
            }
            return m.group(1);
        }
    }

    /** Posts a message. If the provider rejects the token, tries once more with a new one. */
    static void send(Source tokens, URI url, String message) throws IOException, InterruptedException {
        for (int tries = 1; ; tries++) {
            var token = tokens.token();
            var request = HttpRequest.newBuilder(url)
                    .header("Authorization", "Bearer " + token).header("Content-Type", "application/json")
                    .timeout(Duration.ofSeconds(30)).POST(BodyPublishers.ofString(message)).build();
            int status = http.send(request, BodyHandlers.discarding()).statusCode();
            if (status < 300) {
                return;
            }
            if (status != 401 || tries == 2) {
                throw new IOException("the provider answered " + status);
            }
            tokens.refused(token);
        }
    }

    public static void main(String[] args) throws Exception {
        var tokens = new Source(System.getenv("VAULT_ADDR"), System.getenv("VAULT_TOKEN"), args[0]);
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            send(tokens, URI.create(args[1]), line);
        }
    }
}

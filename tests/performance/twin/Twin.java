import com.fasterxml.jackson.annotation.JsonFormat;
import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.sun.management.OperatingSystemMXBean;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.StringReader;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

/**
 * A compiled twin of referral's full way for attendance reports, to compare with. Not part of Lotse.
 *
 * kafka-clients and JDBC; the same tables and the same statements in the same order: positions locked, alliances shared, states
 * locked, quarantine asked, ids claimed by content, the rule of attendance, the fact, S2 raised and withdrawn, the answer, rows
 * people read where they changed, timeline, outbox, positions; a relay that sends facts before answers and marks them. Left out:
 * everything but attendance reports, what waits or is set aside (a batch with such a thing ends the program), batches run again
 * in halves, ticks, rebuild, HTTP, metrics and traces (a traceparent travels). Days and moments stay text once they are checked.
 * Its states are JSON whole; ours pack what is known of meetings, and are a quarter smaller with eight of them.
 *
 * Arguments: WORKERS WARM COUNT PLAN.json. Database: TWIN_DATABASE. Prints one line of JSON.
 */
public final class Twin {
    /** Ids are member names of a state: interned, each unseen one would copy a table of all that were seen. */
    static final ObjectMapper JSON = new ObjectMapper(JsonFactory.builder()
        .disable(JsonFactory.Feature.INTERN_FIELD_NAMES).disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES).build());
    static final ObjectReader REPORT = JSON.readerFor(Report.class);
    static final ObjectReader CASE = JSON.readerFor(Case.class);
    static final ObjectReader KNOWN = JSON.readerFor(Known.class);
    static final ObjectReader LAST = JSON.readerFor(Last.class);
    static final ObjectWriter WRITE = JSON.writer();
    static final Pattern UUIDS = Pattern.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
    static final Pattern ORGANISATION = Pattern.compile("[a-z0-9][a-z0-9-]{0,63}");
    static final Pattern MESSAGE_ID = Pattern.compile("[A-Za-z0-9._:-]{1,64}");
    static final Set<String> PRESENCE = Set.of("PRESENT", "LATE", "EXCUSED", "UNEXCUSED", "NOT_RECORDED");
    static final Set<String> EXCUSES = Set.of("PERSONAL", "CARE", "INTERNSHIP", "SUMMONS", "OTHER");
    static final ZoneId ZONE = ZoneId.of("Europe/Berlin");
    static final UUID URLS = UUID.fromString("6ba7b811-9dad-11d1-80b4-00c04fd430c8");
    static final int BATCH = 2_000;

    // --- what travels and what is kept

    @JsonIgnoreProperties(ignoreUnknown = true)
    @JsonInclude(JsonInclude.Include.NON_NULL)
    public static final class By {
        public String organisation_id, staff_id;
        public String kind = "person";
    }

    @JsonIgnoreProperties(ignoreUnknown = true)
    @JsonInclude(JsonInclude.Include.NON_NULL)
    public static final class Report {
        public By by;
        public String participation_id, meeting_id, meeting_on;
        public int units_planned, units_attended;
        public String presence, excuse_reason;
        public long revision;
        public String reported_at;
    }

    @JsonInclude(JsonInclude.Include.NON_NULL)
    public static final class Risked {
        public By by;
        public String case_id, about, rule;
        public Integer rule_version;
        public String first_on;
        public List<String> days_on;
        public String reason, owner_organisation_id, as_of;
    }

    @JsonInclude(JsonInclude.Include.NON_NULL)
    public static final class Answer {
        public String submission_id, reference, content, outcome, fact_id, reason, pointer, hint;
        public String again = "no";
    }

    @JsonFormat(shape = JsonFormat.Shape.ARRAY)
    @JsonPropertyOrder({"purpose", "categories", "recipients", "from", "last", "withdrawn"})
    public static final class Consent {
        public String purpose;
        public List<String> categories, recipients;
        public String from, last, withdrawn;
    }

    @JsonFormat(shape = JsonFormat.Shape.ARRAY)
    @JsonPropertyOrder({"run", "consent", "owner", "provider", "block", "type", "requested", "categories", "starts", "ends",
        "state", "planned", "reason"})
    public static final class Referral {
        public String run, consent, owner, provider, block, type, requested;
        public List<String> categories;
        public String starts, ends, state, planned, reason;
    }

    @JsonFormat(shape = JsonFormat.Shape.ARRAY)
    @JsonPropertyOrder({"referral", "on", "reported", "revision", "endedBefore", "endKind"})
    public static final class Participation {
        public String referral, on, reported;
        public long revision;
        public String endedBefore, endKind;

        boolean runningOn(String day) {
            return on != null && on.compareTo(day) <= 0 && (endedBefore == null || day.compareTo(endedBefore) < 0);
        }
    }

    @JsonFormat(shape = JsonFormat.Shape.ARRAY)
    @JsonPropertyOrder({"on", "presence", "planned", "attended", "excuse", "reported", "revision"})
    public static final class Meeting {
        public String on, presence;
        public int planned, attended;
        public String excuse, reported;
        public long revision;
    }

    @JsonFormat(shape = JsonFormat.Shape.ARRAY)
    @JsonPropertyOrder({"about", "rule", "first"})
    public static final class Risk {
        public String about, rule, first;
    }

    public static final class Case {
        public String id, tenant, owner, lastDay;
        public Map<String, Consent> consents;
        public Map<String, Referral> referrals;
        public Map<String, Participation> participations;
        public Map<String, Map<String, Meeting>> meetings;
        public List<Risk> open;
        public Map<String, Integer> raised;
    }

    public static final class Known {
        public TreeSet<String> given = new TreeSet<>();
        public Map<String, Heard> stream = new TreeMap<>();
    }

    @JsonFormat(shape = JsonFormat.Shape.ARRAY)
    @JsonPropertyOrder({"number", "id"})
    public static final class Heard {
        public long number;
        public String id;
    }

    public static final class Last {
        public String cause, trace, recorded_at;
        public String viewed = "";
    }

    public static final class Publisher {
        public String topic, answers, source;
        public Set<String> tenants, organisations;
    }

    public static final class Plan {
        public String kafka, facts, dropout, source;
        public int partitions;
        public List<Publisher> publishers;
    }

    static final class Slot {
        String id, tenant;
        Case state;
        Known known;
        Last last;
        boolean changed;
    }

    record Letter(byte[] key, byte[] value, List<Header> headers) {}

    record Refused(String reason, String at) {}

    static final class Message {
        ConsumerRecord<byte[], byte[]> record;
        Publisher publisher;
        Map<String, String> headers;
        String id, subject, tenant, content;
        UUID reference;
        Report report;
        Refused denied;
    }

    // --- identity

    static UUID uuid5(UUID namespace, String name) throws Exception {
        MessageDigest sha = MessageDigest.getInstance("SHA-1");
        sha.update(ByteBuffer.allocate(16).putLong(namespace.getMostSignificantBits())
            .putLong(namespace.getLeastSignificantBits()).array());
        ByteBuffer out = ByteBuffer.wrap(sha.digest(name.getBytes(StandardCharsets.UTF_8)));
        long high = (out.getLong() & ~0xF000L) | 0x5000L;
        long low = (out.getLong() & 0x3FFFFFFFFFFFFFFFL) | 0x8000000000000000L;
        return new UUID(high, low);
    }

    static String content(UUID reference, String type, byte[] body) throws Exception {
        MessageDigest sha = MessageDigest.getInstance("SHA-256");
        sha.update(reference.toString().getBytes(StandardCharsets.UTF_8));
        sha.update(type.getBytes(StandardCharsets.UTF_8));
        sha.update(body);
        return HexFormat.of().formatHex(sha.digest(), 0, 16);
    }

    static UUID ofHex(String hex) {
        return new UUID(Long.parseUnsignedLong(hex, 0, 16, 16), Long.parseUnsignedLong(hex, 16, 32, 16));
    }

    // --- a worker: one consumer, one connection, a transaction a fetch

    static final class Worker extends Thread {
        final Plan plan;
        final Map<String, Publisher> publishers = new HashMap<>();
        final Map<String, UUID> namespaces = new HashMap<>();
        final List<TopicPartition> parts;
        final Semaphore written;
        final long goal;
        final long[] applied;
        volatile Throwable failure;
        Map<String, Slot> slots;
        Map<String, Instant> ticked;
        Map<String, List<Letter>> facts, answers;
        StringBuilder timeline;
        Instant now;

        Worker(Plan plan, List<TopicPartition> parts, Semaphore written, long goal, long[] applied) throws Exception {
            this.plan = plan;
            this.parts = parts;
            this.written = written;
            this.goal = goal;
            this.applied = applied;
            for (Publisher one : plan.publishers) {
                publishers.put(one.topic, one);
                namespaces.put(one.source, uuid5(URLS, one.source));
            }
        }

        @Override
        public void run() {
            Map<String, Object> settings = Map.of("bootstrap.servers", plan.kafka, "isolation.level", "read_committed",
                "enable.auto.commit", "false", "auto.offset.reset", "earliest", "max.poll.records", BATCH,
                "fetch.min.bytes", 65_536, "fetch.max.wait.ms", 20, "max.partition.fetch.bytes", 4_194_304);
            try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
                 Connection con = DriverManager.getConnection(System.getenv("TWIN_DATABASE"))) {
                con.setAutoCommit(false);
                consumer.assign(parts);
                consumer.seekToBeginning(parts);
                while (taken() < goal) {
                    var records = consumer.poll(Duration.ofMillis(200));
                    if (records.isEmpty()) {
                        continue;
                    }
                    List<ConsumerRecord<byte[], byte[]>> batch = new ArrayList<>(records.count());
                    records.forEach(batch::add);
                    int done = apply(con, batch);
                    synchronized (applied) {
                        applied[0] += done;
                    }
                    written.release();
                }
            } catch (Throwable error) {
                failure = error;
                written.release();
            }
        }

        long taken() {
            synchronized (applied) {
                return applied[0];
            }
        }

        int apply(Connection con, List<ConsumerRecord<byte[], byte[]>> batch) throws Exception {
            TreeMap<String, Integer> first = new TreeMap<>();
            Map<String, long[]> ends = new LinkedHashMap<>();
            for (var record : batch) {
                String part = record.topic() + " " + record.partition();
                ends.computeIfAbsent(part, any -> new long[] {record.offset(), 0})[1] = record.offset() + 1;
                first.putIfAbsent(part, record.partition());
            }
            String[] topics = first.keySet().stream().map(part -> part.substring(0, part.indexOf(' '))).toArray(String[]::new);
            Integer[] numbers = first.values().toArray(Integer[]::new);
            Map<String, Long> position = new HashMap<>();
            try (PreparedStatement ask = con.prepareStatement(
                "select topic, part, next from position where (topic, part) in (select * from unnest(?::text[], ?::int[]))"
                    + " order by topic, part for update")) {
                ask.setArray(1, con.createArrayOf("text", topics));
                ask.setArray(2, con.createArrayOf("int4", numbers));
                ResultSet rows = ask.executeQuery();
                while (rows.next()) {
                    position.put(rows.getString(1) + " " + rows.getInt(2), rows.getLong(3));
                }
            }
            List<Message> fresh = new ArrayList<>(batch.size());
            for (var record : batch) {
                long next = position.get(record.topic() + " " + record.partition());
                if (record.offset() >= next) {
                    fresh.add(read(record));
                }
            }
            for (var one : ends.entrySet()) {
                if (one.getValue()[0] > position.get(one.getKey())) {
                    throw new IllegalStateException("a batch begins above its row");
                }
            }
            slots = new HashMap<>();
            ticked = new HashMap<>();
            facts = new TreeMap<>();
            answers = new TreeMap<>();
            timeline = new StringBuilder();
            share(con, fresh);
            lock(con, fresh);
            now = Instant.now().truncatedTo(ChronoUnit.MICROS);
            Set<String> quarantined = new HashSet<>();
            try (PreparedStatement ask = con.prepareStatement("select subject from quarantine")) {
                ResultSet rows = ask.executeQuery();
                while (rows.next()) {
                    quarantined.add(rows.getString(1));
                }
            }
            claim(con, fresh);
            for (Message message : fresh) {
                if (quarantined.contains(message.subject)) {
                    throw new IllegalStateException("quarantined subjects are left out");
                }
                judge(message);
            }
            save(con);
            try (PreparedStatement move = con.prepareStatement("update position p set next = n.next"
                + " from unnest(?::text[], ?::int[], ?::bigint[]) n(topic, part, next)"
                + " where (p.topic, p.part) = (n.topic, n.part)")) {
                move.setArray(1, con.createArrayOf("text", topics));
                move.setArray(2, con.createArrayOf("int4", numbers));
                move.setArray(3, con.createArrayOf("int8", first.keySet().stream()
                    .map(part -> Math.max(position.get(part), ends.get(part)[1])).toArray(Long[]::new)));
                move.executeUpdate();
            }
            con.commit();
            return fresh.size();
        }

        /** Attributes, id, content, body, and what the publisher's entry forbids. What is unreadable is left out: it ends us. */
        Message read(ConsumerRecord<byte[], byte[]> record) throws Exception {
            Message m = new Message();
            m.record = record;
            m.publisher = publishers.get(record.topic());
            m.headers = new HashMap<>();
            for (Header header : record.headers()) {
                m.headers.putIfAbsent(header.key(), new String(header.value(), StandardCharsets.UTF_8));
            }
            Map<String, String> h = m.headers;
            m.id = h.get("ce_id");
            require(m.id != null && MESSAGE_ID.matcher(m.id).matches(), "ce_id");
            m.reference = uuid5(namespaces.get(m.publisher.source), m.id);
            m.content = content(m.reference, h.get("ce_type"), record.value());
            require("1.0".equals(h.get("ce_specversion")), "ce_specversion");
            require("application/json".equals(h.get("content-type")), "content-type");
            require(m.publisher.source.equals(h.get("ce_source")), "ce_source");
            require("lotse.attendance.attendance_reported.v1".equals(h.get("ce_type")), "ce_type");
            m.subject = h.get("ce_subject");
            m.tenant = h.get("ce_tenant");
            require(UUIDS.matcher(m.subject).matches(), "ce_subject");
            require(record.value().length <= 128 * 1024, "size");
            Instant time = OffsetDateTime.parse(h.get("ce_time")).toInstant();
            Report r = m.report = REPORT.readValue(record.value());
            require(ORGANISATION.matcher(r.by.organisation_id).matches(), "organisation_id");
            require(UUIDS.matcher(r.participation_id).matches() && UUIDS.matcher(r.meeting_id).matches(), "ids");
            LocalDate.parse(r.meeting_on);
            require(r.units_planned >= 1 && r.units_planned <= 32 && r.units_attended >= 0 && r.units_attended <= 32, "units");
            require(r.revision >= 1 && r.revision <= 1_000_000_000, "revision");
            r.reported_at = OffsetDateTime.parse(r.reported_at).withOffsetSameInstant(ZoneOffset.UTC).toString();
            require(PRESENCE.contains(r.presence) && (r.excuse_reason == null || EXCUSES.contains(r.excuse_reason)), "codes");
            if (!m.publisher.tenants.contains(m.tenant)) {
                m.denied = new Refused("NOT_YOURS", "");
            } else if (!m.publisher.organisations.contains(r.by.organisation_id)) {
                m.denied = new Refused("NOT_YOURS", "/by/organisation_id");
            } else if (!"person".equals(r.by.kind)) {
                m.denied = new Refused("NOT_YOURS", "/by/kind");
            } else if (time.toEpochMilli() - record.timestamp() > 600_000) {
                m.denied = new Refused("CLOCK_AHEAD", "");
            }
            return m;
        }

        static void require(boolean holds, String what) {
            if (!holds) {
                throw new IllegalStateException("unreadable: " + what);
            }
        }

        void share(Connection con, List<Message> fresh) throws SQLException {
            TreeSet<String> tenants = new TreeSet<>();
            fresh.forEach(m -> tenants.add(m.tenant));
            try (PreparedStatement ask = con.prepareStatement(
                "with turn as materialized (select pg_advisory_xact_lock_shared(hashtext('lotse time')))"
                + " select tenant, ticked, tick_id from turn, alliance where tenant = any(?) order by tenant for share of alliance")) {
                ask.setArray(1, con.createArrayOf("text", tenants.toArray(String[]::new)));
                ResultSet rows = ask.executeQuery();
                while (rows.next()) {
                    ticked.put(rows.getString(1), rows.getTimestamp(2).toInstant());
                }
            }
        }

        void lock(Connection con, List<Message> fresh) throws Exception {
            TreeSet<String> ids = new TreeSet<>();
            fresh.forEach(m -> ids.add(m.subject));
            String[] kinds = new String[ids.size()];
            Arrays.fill(kinds, "case");
            try (PreparedStatement ask = con.prepareStatement("select s.* from state s join unnest(?::text[], ?::text[])"
                + " n(kind, id) on s.kind = n.kind and s.id = n.id order by s.kind, s.id for update of s")) {
                ask.setArray(1, con.createArrayOf("text", kinds));
                ask.setArray(2, con.createArrayOf("text", ids.toArray(String[]::new)));
                ResultSet rows = ask.executeQuery();
                while (rows.next()) {
                    Slot slot = new Slot();
                    slot.id = rows.getString("id");
                    slot.tenant = rows.getString("tenant");
                    slot.state = CASE.readValue(rows.getString("body"));
                    slot.known = KNOWN.readValue(rows.getString("known"));
                    slot.last = LAST.readValue(rows.getString("last"));
                    slots.put(slot.id, slot);
                }
            }
        }

        void claim(Connection con, List<Message> fresh) throws Exception {
            TreeMap<String, String> keys = new TreeMap<>();
            fresh.forEach(m -> keys.put(m.reference.toString(), m.content));
            try (PreparedStatement put = con.prepareStatement("insert into answered (key, content)"
                + " select * from unnest(?::uuid[], ?::uuid[]) on conflict do nothing")) {
                put.setArray(1, con.createArrayOf("uuid", keys.keySet().stream().map(UUID::fromString).toArray()));
                put.setArray(2, con.createArrayOf("uuid", keys.values().stream().map(Twin::ofHex).toArray()));
                if (put.executeUpdate() != keys.size() || keys.size() != fresh.size()) {
                    throw new IllegalStateException("messages that came before are left out");
                }
            }
        }

        void judge(Message m) throws Exception {
            Slot slot = slots.get(m.subject);
            Object decision = m.denied;
            if (decision == null && (slot == null || !slot.known.given.contains(m.subject)
                || !slot.known.given.contains(m.report.participation_id))) {
                throw new IllegalStateException("what waits is left out");
            }
            if (decision == null && !Objects.equals(slot.tenant, m.tenant)) {
                decision = new Refused("NOT_YOURS", "");
            }
            if (decision == null) {
                decision = attend(m.report, slot.state, m.record.timestamp());
            }
            Answer answer = new Answer();
            answer.submission_id = m.id;
            answer.reference = m.reference.toString();
            answer.content = "r1:" + m.content;
            if (decision instanceof Report fact) {
                String id = uuid5(m.reference, "fact").toString();
                String trace = m.headers.get("traceparent");
                record(slot, "attendance", "attendance_recorded", plan.facts, fact, id, m.reference.toString(),
                    m.headers.get("ce_time"), trace);
                fold(slot.state, fact);
                slot.last.cause = id;
                slot.last.trace = trace == null ? slot.last.trace : trace;
                answer.outcome = "recorded";
                answer.fact_id = id;
                answer(m, answer);
                react(slot, ticked.get(m.tenant));
                return;
            }
            if (decision instanceof Refused no) {
                answer.outcome = "refused";
                answer.reason = no.reason();
                answer.pointer = no.at();
                answer.hint = "see the list of reasons";
                answer.again = "mended";
            } else {
                answer.outcome = "unchanged";
            }
            answer(m, answer);
        }

        /** The rule of attendance; the fact has the fields of the report. */
        static Object attend(Report r, Case c, long arrived) {
            Participation participation = c.participations.get(r.participation_id);
            Referral referral = c.referrals.get(participation.referral);
            if (!r.by.organisation_id.equals(referral.provider)) {
                return new Refused("NOT_YOURS", "");
            }
            Meeting stands = c.meetings.getOrDefault(r.participation_id, Map.of()).get(r.meeting_id);
            if (stands != null && stands.reported.equals(r.reported_at) && stands.revision == r.revision) {
                boolean same = stands.on.equals(r.meeting_on) && stands.presence.equals(r.presence)
                    && stands.planned == r.units_planned && stands.attended == r.units_attended
                    && Objects.equals(stands.excuse, r.excuse_reason);
                return same ? "unchanged" : new Refused("REVISION_REUSED", "/revision");
            }
            String today = Instant.ofEpochMilli(arrived).atZone(ZONE).toLocalDate().toString();
            if (r.meeting_on.compareTo(today) > 0) {
                return new Refused("FUTURE_DAY", "/meeting_on");
            }
            if (!participation.runningOn(r.meeting_on)) {
                return new Refused("NOT_RUNNING", "/meeting_on");
            }
            Consent consent = c.consents.get(referral.consent);
            if (consent != null && consent.withdrawn != null && r.meeting_on.compareTo(consent.withdrawn) >= 0) {
                return new Refused("NO_CONSENT", "/meeting_on");
            }
            if (c.lastDay != null && r.meeting_on.compareTo(c.lastDay) > 0) {
                return new Refused("CASE_CLOSED", "/meeting_on");
            }
            if (r.units_attended > r.units_planned) {
                return new Refused("MORE_THAN_PLANNED", "/units_attended");
            }
            boolean excused = r.presence.equals("EXCUSED");
            if (excused && r.excuse_reason == null) {
                return new Refused("EXCUSE_NEEDS_REASON", "/excuse_reason");
            }
            if (!excused && r.excuse_reason != null) {
                return new Refused("CONTRADICTION", "/excuse_reason");
            }
            if ((excused || r.presence.equals("UNEXCUSED")) && r.units_attended > 0) {
                return new Refused("CONTRADICTION", "/units_attended");
            }
            return r;
        }

        static void fold(Case c, Report fact) {
            Map<String, Meeting> meetings = c.meetings.computeIfAbsent(fact.participation_id, any -> new TreeMap<>());
            Meeting known = meetings.get(fact.meeting_id);
            int order = known == null ? 1 : moment(fact.reported_at).compareTo(moment(known.reported));
            if (order > 0 || (order == 0 && fact.revision > known.revision)) {
                Meeting m = new Meeting();
                m.on = fact.meeting_on;
                m.presence = fact.presence;
                m.planned = fact.units_planned;
                m.attended = fact.units_attended;
                m.excuse = fact.excuse_reason;
                m.reported = fact.reported_at;
                m.revision = fact.revision;
                meetings.put(fact.meeting_id, m);
            }
        }

        static Instant moment(String text) {
            return OffsetDateTime.parse(text).toInstant();
        }

        /** Runs of absences of a participation, oldest first; the last may still stand. */
        static List<List<String>> absences(Participation participation, Map<String, Meeting> meetings, boolean[] standing) {
            TreeMap<String, Boolean> days = new TreeMap<>();
            for (Meeting meeting : meetings.values()) {
                if (participation.runningOn(meeting.on)) {
                    if (meeting.presence.equals("PRESENT") || meeting.presence.equals("LATE")) {
                        days.put(meeting.on, true);
                    } else if (meeting.presence.equals("UNEXCUSED")) {
                        days.putIfAbsent(meeting.on, false);
                    }
                }
            }
            List<List<String>> runs = new ArrayList<>();
            List<String> current = new ArrayList<>();
            for (var day : days.entrySet()) {
                if (!day.getValue()) {
                    current.add(day.getKey());
                } else if (!current.isEmpty()) {
                    runs.add(current);
                    current = new ArrayList<>();
                }
            }
            standing[0] = !current.isEmpty();
            if (standing[0]) {
                runs.add(current);
            }
            return runs;
        }

        /** S2 until nothing is missing: raised where it holds, withdrawn where it holds no longer. */
        void react(Slot slot, Instant ticked) throws Exception {
            Case c = slot.state;
            for (boolean said = true; said; ) {
                said = false;
                for (var course : c.participations.entrySet()) {
                    String id = course.getKey();
                    Participation participation = course.getValue();
                    Referral referral = c.referrals.get(participation.referral);
                    Map<String, Meeting> meetings = c.meetings.get(id);
                    if (referral == null || meetings == null) {
                        continue;
                    }
                    boolean[] standing = new boolean[1];
                    List<List<String>> runs = absences(participation, meetings, standing);
                    List<String> present = standing[0] && participation.endedBefore == null ? runs.getLast() : List.of();
                    String held = present.size() >= 2 ? present.getFirst() : null;
                    boolean there = false;
                    for (Risk risk : List.copyOf(c.open)) {
                        if (!risk.about.equals(id)) {
                            continue;
                        }
                        if (risk.first.equals(held)) {
                            there = true;
                            continue;
                        }
                        boolean attended = runs.stream().anyMatch(run -> run.getFirst().equals(risk.first) && run.size() >= 2);
                        Risked fact = new Risked();
                        fact.reason = attended ? "ATTENDED" : "CORRECTED";
                        fact.first_on = risk.first;
                        c.open.remove(risk);
                        said(slot, id, fact, "dropout_risk_withdrawn", ticked);
                        said = true;
                    }
                    if (held != null && !there) {
                        Risk risk = new Risk();
                        risk.about = id;
                        risk.rule = "S2";
                        risk.first = held;
                        c.open.add(risk);
                        c.raised.merge("S2:" + id, 1, Integer::sum);
                        Risked fact = new Risked();
                        fact.rule_version = 1;
                        fact.first_on = held;
                        fact.days_on = present;
                        said(slot, id, fact, "dropout_risk_raised", ticked);
                        said = true;
                    }
                }
            }
        }

        void said(Slot slot, String about, Risked fact, String type, Instant ticked) throws Exception {
            fact.by = new By();
            fact.by.organisation_id = "lotse";
            fact.by.kind = "rule";
            fact.case_id = slot.id;
            fact.about = about;
            fact.rule = "S2";
            fact.owner_organisation_id = slot.state.owner;
            fact.as_of = ticked.toString();
            String id = UUID.randomUUID().toString();
            record(slot, "dropout", type, plan.dropout, fact, id, slot.last.cause, null, slot.last.trace);
            slot.last.cause = id;
        }

        void record(Slot slot, String family, String name, String topic, Object fact, String id, String cause, String time,
                    String trace) throws Exception {
            Heard heard = slot.known.stream.computeIfAbsent(family, any -> new Heard());
            heard.number += 1;
            heard.id = id;
            Instant before = slot.last.recorded_at == null ? Instant.EPOCH : Instant.parse(slot.last.recorded_at);
            Instant recorded = now.isBefore(before) ? before : now;
            slot.last.recorded_at = recorded.toString();
            slot.changed = true;
            byte[] body = WRITE.writeValueAsBytes(fact);
            String type = "lotse." + family + "." + name + ".v1", at = time == null ? recorded.toString() : time;
            List<Header> headers = headers(id, type, slot.id, at, slot.tenant, cause, trace);
            headers.add(header("ce_streamversion", Long.toString(heard.number)));
            headers.add(header("ce_recordedtime", recorded.toString()));
            facts.computeIfAbsent(topic, any -> new ArrayList<>()).add(
                new Letter(slot.id.getBytes(StandardCharsets.UTF_8), body, headers));
            for (String cell : List.of(family, slot.id, Long.toString(heard.number), id, type, at, recorded.toString(), cause)) {
                timeline.append(cell).append('\t');
            }
            timeline.append(new String(body, StandardCharsets.UTF_8).replace("\\", "\\\\")).append('\n');
        }

        void answer(Message m, Answer answer) throws Exception {
            String id = uuid5(m.reference, answer.content).toString();
            List<Header> headers = headers(id, "lotse.attendance.answer.v1", m.subject, now.toString(), m.tenant,
                answer.reference, m.headers.get("traceparent"));
            answers.computeIfAbsent(m.publisher.answers, any -> new ArrayList<>()).add(
                new Letter(m.subject.getBytes(StandardCharsets.UTF_8), WRITE.writeValueAsBytes(answer), headers));
        }

        List<Header> headers(String id, String type, String subject, String time, String tenant, String cause, String trace) {
            List<Header> found = new ArrayList<>(12);
            found.add(header("ce_specversion", "1.0"));
            found.add(header("ce_id", id));
            found.add(header("ce_source", plan.source));
            found.add(header("ce_type", type));
            found.add(header("ce_subject", subject));
            found.add(header("ce_time", time));
            found.add(header("ce_tenant", tenant));
            found.add(header("ce_cause", cause));
            found.add(header("content-type", "application/json"));
            if (trace != null) {
                found.add(header("traceparent", trace));
            }
            return found;
        }

        static Header header(String name, String value) {
            return new RecordHeader(name, value.getBytes(StandardCharsets.UTF_8));
        }

        // --- save

        void save(Connection con) throws Exception {
            List<Slot> changed = slots.values().stream().filter(slot -> slot.changed)
                .sorted((a, b) -> a.id.compareTo(b.id)).toList();
            List<Object[]> board = new ArrayList<>(), lists = new ArrayList<>(), risks = new ArrayList<>();
            for (Slot slot : changed) {
                view(slot, board, lists, risks);
            }
            String[][] states = new String[5][changed.size()];  // the driver sends String[] in binary, Object[] as text
            for (int n = 0; n < changed.size(); n++) {
                Slot slot = changed.get(n);
                states[0][n] = slot.id;
                states[1][n] = slot.tenant;
                states[2][n] = WRITE.writeValueAsString(slot.state);
                states[3][n] = WRITE.writeValueAsString(slot.known);
                states[4][n] = WRITE.writeValueAsString(slot.last);
            }
            if (!changed.isEmpty()) {
                try (PreparedStatement put = con.prepareStatement("insert into state (kind, id, tenant, shape, body, known, last,"
                    + " due_at) select 'case', i, t, 1, b, k, l, null from unnest(?::text[], ?::text[], ?::text[], ?::text[],"
                    + " ?::text[]) x(i, t, b, k, l) on conflict (kind, id) do update set tenant = excluded.tenant,"
                    + " shape = excluded.shape, body = excluded.body, known = excluded.known, last = excluded.last,"
                    + " due_at = excluded.due_at")) {
                    for (int n = 0; n < 5; n++) {
                        put.setArray(n + 1, con.createArrayOf("text", states[n]));
                    }
                    put.executeUpdate();
                }
            }
            List<Boolean> after = new ArrayList<>();
            List<String> topics = new ArrayList<>();
            List<byte[]> packed = new ArrayList<>();
            for (var side : List.of(facts, answers)) {
                for (var one : side.entrySet()) {
                    after.add(side == answers);
                    topics.add(one.getKey());
                    packed.add(pack(one.getValue()));
                }
            }
            try (PreparedStatement put = con.prepareStatement("insert into outbox (tx, after, topic, records)"
                + " select pg_current_xact_id()::text::bigint, a, t, r from unnest(?::boolean[], ?::text[], ?::bytea[])"
                + " with ordinality x(a, t, r, n) order by n")) {
                put.setArray(1, con.createArrayOf("bool", after.toArray()));
                put.setArray(2, con.createArrayOf("text", topics.toArray(String[]::new)));
                put.setArray(3, con.createArrayOf("bytea", packed.toArray(byte[][]::new)));
                put.executeUpdate();
            }
            if (!timeline.isEmpty()) {
                CopyManager copy = con.unwrap(PGConnection.class).getCopyAPI();
                copy.copyIn("copy timeline (family, subject, number, fact_id, type, time, recorded_at, cause, body) from stdin",
                    new StringReader(timeline.toString()));
            }
            upsert(con, "referral_board", "case_id, referral_id", board, "referral_id text, case_id text, tenant text, run_id text,"
                + " provider_organisation_id text, owner_organisation_id text, block text, state text, reason text,"
                + " requested_on date, planned_start_on date");
            upsert(con, "participation_list", "case_id, participation_id", lists, "participation_id text, referral_id text,"
                + " case_id text, tenant text, run_id text, block text, started_on date, ended_on date, end_kind text,"
                + " dropped_out boolean");
            upsert(con, "risk_list", "case_id, about, rule", risks, "about text, rule text, case_id text, tenant text,"
                + " participation_id text, referral_id text, run_id text, holds_from_on date, raised int, open boolean,"
                + " owner_organisation_id text");
        }

        /** Rows people read of a case; written where a digest of them has changed. */
        void view(Slot slot, List<Object[]> board, List<Object[]> lists, List<Object[]> risks) throws Exception {
            Case c = slot.state;
            List<Object[]> one = new ArrayList<>(), two = new ArrayList<>(), three = new ArrayList<>();
            for (var found : c.referrals.entrySet()) {
                Referral r = found.getValue();
                one.add(new Object[] {found.getKey(), c.id, c.tenant, r.run, r.provider, c.owner, r.block, r.state,
                    r.reason == null || r.reason.isEmpty() ? null : r.reason, r.requested, r.planned});
            }
            for (var found : c.participations.entrySet()) {
                String id = found.getKey();
                Participation p = found.getValue();
                Referral r = c.referrals.get(p.referral);
                two.add(new Object[] {id, p.referral, c.id, c.tenant, r.run, r.block, p.on, p.endedBefore, p.endKind, "false"});
                Map<String, Meeting> meetings = c.meetings.get(id);
                if (meetings != null) {
                    String holds = absences(p, meetings, new boolean[1]).stream().filter(run -> run.size() >= 2)
                        .map(run -> run.get(1)).findFirst().orElse(null);
                    boolean open = c.open.stream().anyMatch(risk -> risk.about.equals(id));
                    three.add(new Object[] {id, "S2", c.id, c.tenant, id, p.referral, r.run, holds,
                        Integer.toString(c.raised.getOrDefault("S2:" + id, 0)), Boolean.toString(open), c.owner});
                }
            }
            byte[] rows = WRITE.writeValueAsBytes(List.of(one, two, three));
            String digest = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-1").digest(rows), 0, 8);
            if (!digest.equals(slot.last.viewed)) {
                slot.last.viewed = digest;
                board.addAll(one);
                lists.addAll(two);
                risks.addAll(three);
            }
        }

        static void upsert(Connection con, String table, String key, List<Object[]> rows, String columns) throws SQLException {
            if (rows.isEmpty()) {
                return;
            }
            rows.sort((a, b) -> ((String) a[0]).compareTo((String) b[0]));
            List<String> names = new ArrayList<>(), arrays = new ArrayList<>(), sets = new ArrayList<>();
            for (String column : columns.split(", ")) {
                String name = column.substring(0, column.indexOf(' '));
                names.add(name);
                arrays.add("?::" + column.substring(column.indexOf(' ') + 1) + "[]");
                if (!List.of(key.split(", ")).contains(name)) {
                    sets.add(name + " = excluded." + name);
                }
            }
            String sql = "insert into " + table + " (" + String.join(", ", names) + ") select * from unnest("
                + String.join(", ", arrays) + ") on conflict (" + key + ") do update set " + String.join(", ", sets);
            try (PreparedStatement put = con.prepareStatement(sql)) {
                for (int n = 0; n < names.size(); n++) {
                    int at = n;
                    put.setArray(n + 1, con.createArrayOf("text", rows.stream().map(row -> row[at]).toArray()));
                }
                put.executeUpdate();
            }
        }

        static byte[] pack(List<Letter> letters) throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream(letters.size() * 900);
            DataOutputStream out = new DataOutputStream(bytes);
            out.writeInt(letters.size());
            for (Letter letter : letters) {
                put(out, letter.key());
                put(out, letter.value());
                out.writeInt(letter.headers().size());
                for (Header header : letter.headers()) {
                    out.writeUTF(header.key());
                    put(out, header.value());
                }
            }
            return bytes.toByteArray();
        }

        static void put(DataOutputStream out, byte[] bytes) throws IOException {
            out.writeInt(bytes.length);
            out.write(bytes);
        }
    }

    // --- the relay: facts, then the answers that follow them; marked once acknowledged

    static final class Relay extends Thread {
        final Plan plan;
        final Semaphore written;
        volatile long answered, recorded, others;
        volatile boolean done;
        volatile Throwable failure;

        Relay(Plan plan, Semaphore written) {
            this.plan = plan;
            this.written = written;
        }

        @Override
        public void run() {
            Map<String, Object> settings = Map.of("bootstrap.servers", plan.kafka, "enable.idempotence", true, "linger.ms", 2,
                "compression.type", "lz4", "batch.size", 262_144, "max.request.size", 1_048_576);
            try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
                 Connection con = DriverManager.getConnection(System.getenv("TWIN_DATABASE"))) {
                con.setAutoCommit(false);
                while (!done) {
                    written.drainPermits();
                    if (!turn(con, producer)) {
                        written.tryAcquire(200, TimeUnit.MILLISECONDS);
                    }
                }
            } catch (Throwable error) {
                failure = error;
            }
        }

        boolean turn(Connection con, KafkaProducer<byte[], byte[]> producer) throws Exception {
            List<Object[]> rows = new ArrayList<>();
            try (PreparedStatement ask = con.prepareStatement("select id, after, topic, records from outbox"
                + " where sent_at is null order by id limit 50")) {
                ResultSet found = ask.executeQuery();
                while (found.next()) {
                    rows.add(new Object[] {found.getLong(1), found.getBoolean(2), found.getString(3), found.getBytes(4)});
                }
            }
            con.commit();
            for (boolean after : new boolean[] {false, true}) {
                send(con, producer, rows.stream().filter(row -> (boolean) row[1] == after).toList());
            }
            return !rows.isEmpty();
        }

        void send(Connection con, KafkaProducer<byte[], byte[]> producer, List<Object[]> rows) throws Exception {
            if (rows.isEmpty()) {
                return;
            }
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            long some = 0, more = 0, rest = 0;
            for (Object[] row : rows) {
                String topic = (String) row[2];
                DataInputStream in = new DataInputStream(new ByteArrayInputStream((byte[]) row[3]));
                int letters = in.readInt();
                for (int n = 0; n < letters; n++) {
                    byte[] key = in.readNBytes(in.readInt()), value = in.readNBytes(in.readInt());
                    List<Header> headers = new ArrayList<>();
                    for (int left = in.readInt(); left > 0; left--) {
                        String name = in.readUTF();
                        headers.add(new RecordHeader(name, in.readNBytes(in.readInt())));
                    }
                    sent.add(producer.send(new ProducerRecord<>(topic, null, key, value, headers)));
                }
                if ((boolean) row[1]) {
                    some += letters;
                } else if (topic.equals(plan.facts)) {
                    more += letters;
                } else {
                    rest += letters;
                }
            }
            TreeMap<String, Object[]> marks = new TreeMap<>();
            for (Future<RecordMetadata> one : sent) {
                RecordMetadata at = one.get();
                Object[] mark = marks.computeIfAbsent(at.topic() + " " + at.partition(),
                    any -> new Object[] {at.topic(), at.partition(), 0L});
                mark[2] = Math.max((long) mark[2], at.offset() + 1);
            }
            Collection<Object[]> ends = marks.values();
            try (PreparedStatement mark = con.prepareStatement("update outbox set sent_at = now() where id = any(?)");
                 PreparedStatement put = con.prepareStatement("insert into acked (topic, part, next)"
                     + " select * from unnest(?::text[], ?::int[], ?::bigint[]) on conflict (topic, part)"
                     + " do update set next = greatest(acked.next, excluded.next)")) {
                mark.setArray(1, con.createArrayOf("int8", rows.stream().map(row -> row[0]).sorted().toArray()));
                mark.executeUpdate();
                put.setArray(1, con.createArrayOf("text", ends.stream().map(end -> end[0]).toArray()));
                put.setArray(2, con.createArrayOf("int4", ends.stream().map(end -> end[1]).toArray()));
                put.setArray(3, con.createArrayOf("int8", ends.stream().map(end -> end[2]).toArray()));
                put.executeUpdate();
            }
            con.commit();
            recorded += more;
            others += rest;
            answered += some;
        }
    }

    public static void main(String[] arguments) throws Exception {
        int workers = Integer.parseInt(arguments[0]);
        long warm = Long.parseLong(arguments[1]), count = Long.parseLong(arguments[2]), goal = warm + count;
        Plan plan = JSON.readValue(Files.readString(Path.of(arguments[3])), Plan.class);
        List<List<TopicPartition>> parts = new ArrayList<>();
        for (int n = 0; n < workers; n++) {
            parts.add(new ArrayList<>());
        }
        for (Publisher publisher : plan.publishers) {
            for (int part = 0; part < plan.partitions; part++) {
                parts.get(part % workers).add(new TopicPartition(publisher.topic, part));
            }
        }
        Semaphore written = new Semaphore(0);
        long[] applied = new long[1];
        Relay relay = new Relay(plan, written);
        List<Worker> crew = new ArrayList<>();
        for (var some : parts) {
            crew.add(new Worker(plan, some, written, goal, applied));
        }
        var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        relay.start();
        crew.forEach(Thread::start);
        long begun = 0, first = 0, used = 0, last = -1, moved = System.nanoTime();
        Map<String, Object> said = new TreeMap<>();
        while (true) {
            for (Worker worker : crew) {
                rethrow(worker.failure);
            }
            rethrow(relay.failure);
            long through = relay.answered, at = System.nanoTime();
            if (begun == 0 && through >= warm && through > 0) {
                begun = at;
                first = through;
                used = system.getProcessCpuTime();
            }
            if (said.isEmpty() && through >= goal - count / 4 && through > first) { // not the last quarter, as of Lotse's
                double seconds = (at - begun) / 1e9, cpu = (system.getProcessCpuTime() - used) / 1e3;
                said.put("rate", (through - first) / seconds);
                said.put("cpu", cpu / (through - first));
            }
            if (through >= goal && through == applied[0] && crew.stream().noneMatch(Thread::isAlive)) {
                relay.done = true;
                relay.join();
                said.put("answers", through);
                said.put("facts", relay.recorded);
                said.put("others", relay.others);
                System.out.println(WRITE.writeValueAsString(said));
                return;
            }
            if (through != last) {
                last = through;
                moved = at;
            } else if (at - moved > 60_000_000_000L) {
                throw new IllegalStateException("nothing moved for 60 s at " + through + " of " + goal);
            }
            Thread.sleep(1);
        }
    }

    static void rethrow(Throwable failure) {
        if (failure != null) {
            failure.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }
}
